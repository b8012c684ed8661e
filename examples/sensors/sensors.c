/* Watches the readings of sensors as they come, and says only what is strange.
 *
 * Usage: sensors FOLDER
 *
 * Each file of FOLDER is a sensor, to which somebody appends lines of `seconds value`. A sensor's usual value, and how far
 * it usually strays, follow it slowly. Three readings in a row that stray six times as far are an alarm; it is over after
 * three usual ones. Ends once the file exists that SKREI_STOP_FILE names, and says what it saw.
 */
#include "../parts.h"
#include <time.h>
#include <unistd.h>

enum { MOST_SENSORS = 1000, LEARN = 30, IN_A_ROW = 3, LOOK_MILLISECONDS = 100 };

static const double slow = 0.02, too_far = 6;

struct sensor {
    char *path;
    long at; /* bytes that were read */
    unsigned long readings, strange;
    double usual, variance;
    int alarmed, in_a_row; /* of readings that speak for the other state */
};

static struct sensor sensors[MOST_SENSORS];
static size_t sensor_count;

static void take(struct sensor *sensor, double seconds, double value) {
    double away = value - sensor->usual, strays = sqrt(sensor->variance);
    int learns = sensor->readings++ < LEARN, is_strange = !learns && fabs(away) > too_far * strays;
    sensor->strange += (unsigned)is_strange;
    sensor->in_a_row = is_strange != sensor->alarmed ? sensor->in_a_row + 1 : 0;
    if (sensor->in_a_row == IN_A_ROW) {
        sensor->alarmed = is_strange, sensor->in_a_row = 0;
        printf("%s at %.0f s: %s %g, usual is %.2f +- %.2f\n", file_name(sensor->path), seconds,
               is_strange ? "ALARM" : "over", value, sensor->usual, strays);
        fflush(stdout);
    }
    if (is_strange) return; /* what is strange does not become usual */
    double share = learns ? 1.0 / (double)sensor->readings : slow;
    sensor->usual += share * away;
    sensor->variance += share * (away * away * (1 - share) - sensor->variance);
}

/* Reads what was appended. A line without an end is still being written. */
static void follow(struct sensor *sensor) {
    FILE *file = open_file(sensor->path, "rb");
    char line[256];
    double seconds, value;
    if (fseek(file, sensor->at, SEEK_SET) == 0)
        while (fgets(line, sizeof line, file) != NULL && strchr(line, '\n') != NULL) {
            sensor->at = ftell(file);
            if (sscanf(line, "%lf %lf", &seconds, &value) == 2) take(sensor, seconds, value);
        }
    fclose(file);
}

static struct sensor *sensor_of(const char *path) {
    for (size_t at = 0; at < sensor_count; at++)
        if (strcmp(sensors[at].path, path) == 0) return &sensors[at];
    if (sensor_count == MOST_SENSORS) fail("too many sensors, one of them", path);
    sensors[sensor_count].path = strdup(path);
    printf("watching %s\n", file_name(path));
    fflush(stdout);
    return &sensors[sensor_count++];
}

int main(int argc, char **argv) {
    const char *stop = getenv("SKREI_STOP_FILE");
    if (argc != 2) {
        fprintf(stderr, "usage: sensors FOLDER\n");
        return 2;
    }
    while (stop == NULL || access(stop, F_OK) != 0) {
        char **paths;
        size_t count = list_files(argv[1], "", &paths); /* also sensors that come later */
        for (size_t at = 0; at < count; free(paths[at++])) follow(sensor_of(paths[at]));
        free(paths);
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MILLISECONDS * 1000000L}, NULL);
    }
    for (size_t at = 0; at < sensor_count; at++)
        printf("%s: %lu readings, %lu of them strange\n", file_name(sensors[at].path), sensors[at].readings,
               sensors[at].strange);
    return 0;
}
