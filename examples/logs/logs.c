/* Sums up the access logs of a web server, or adds up what others found in theirs.
 *
 * Usage: logs LOGS OUTPUT             reads every file of LOGS
 *        logs --merge PARTS OUTPUT    adds up the summary.txt of each folder in PARTS, and reports
 *
 * A line is nginx's usual one with the seconds that the answer took at its end ($request_time):
 *
 *     192.0.2.7 - - [01/Mar/2026:10:00:00 +0000] "GET /fish/12?size=2 HTTP/1.1" 200 5321 0.017
 *
 * Averages of averages are wrong, and percentiles cannot be averaged at all. So a summary holds nothing but counts, which
 * can be added: of lines, statuses, paths, and of answers by how long they took. Each of these last classes is 9 % longer
 * than the one before (eight to a doubling), and so exact is a percentile.
 */
#include "../counts.h"

enum { CLASSES_TO_A_DOUBLING = 8, TOP = 5, MOST_MICROSECONDS_BITS = 40 };

/* Which class an answer belongs to, and the longest that one of a class took, in milliseconds. */
static unsigned class_of(double seconds) {
    double microseconds = seconds * 1e6;
    return microseconds <= 1 ? 0 : (unsigned)(log2(microseconds) * CLASSES_TO_A_DOUBLING) + 1;
}

static double longest_of(unsigned class) {
    return exp2((double)class / CLASSES_TO_A_DOUBLING) / 1e3;
}

static void count_named(struct counts *counts, const char *kind, const char *name, unsigned long count) {
    char key[MAX_LINE];
    snprintf(key, sizeof key, "%s %s", kind, name);
    add_count(counts, key, count);
}

/* Counts a line; 0 where it is none of ours. Changes it. */
static int count_line(struct counts *counts, char *line) {
    char *request = strchr(line, '"');
    char *request_end = request ? strchr(request + 1, '"') : NULL;
    if (request_end == NULL) return 0;
    *request_end = '\0';
    char *path = strchr(request + 1, ' ');
    if (path == NULL) return 0;
    path[1 + strcspn(path + 1, " ?#")] = '\0';

    unsigned status;
    unsigned long bytes;
    double seconds;
    if (sscanf(request_end + 1, "%u %lu %lf", &status, &bytes, &seconds) != 3) return 0;
    if (status < 100 || status > 599 || !(seconds >= 0 && seconds < 1e6)) return 0;

    char text[32];
    snprintf(text, sizeof text, "%u", status);
    count_named(counts, "status", text, 1);
    snprintf(text, sizeof text, "%u", class_of(seconds));
    count_named(counts, "class", text, 1);
    count_named(counts, "path", path[1] ? path + 1 : "/", 1);
    count_named(counts, "sum", "bytes", bytes);
    return 1;
}

static void read_log(struct counts *counts, const char *path) {
    FILE *file = open_file(path, "rb");
    char line[MAX_LINE];
    for (int more = 0; fgets(line, sizeof line, file) != NULL;) { /* more: of a line whose beginning was read */
        int ends = strchr(line, '\n') != NULL;
        if (!more) count_named(counts, "sum", count_line(counts, line) ? "requests" : "unreadable", 1);
        more = !ends;
    }
    close_file(file, path);
}

static unsigned long count_of(const struct counts *counts, const char *name) {
    const struct count *found = counts->slot_count ? slot_of(counts, name) : NULL;
    return found && found->name ? found->count : 0;
}

/* Within how many milliseconds this share of all answers came. */
static double percentile(const struct counts *counts, double share, unsigned long requests) {
    unsigned long so_far = 0;
    unsigned last = MOST_MICROSECONDS_BITS * CLASSES_TO_A_DOUBLING;
    for (unsigned class = 0; class <= last; class++) {
        char key[32];
        snprintf(key, sizeof key, "class %u", class);
        so_far += count_of(counts, key);
        if ((double)so_far >= share * (double)requests) return longest_of(class);
    }
    return longest_of(last);
}

static void report(const struct counts *counts) {
    unsigned long requests = count_of(counts, "sum requests"), errors = 0;
    printf("%lu requests, %lu lines that are none, %lu bytes sent\n", requests, count_of(counts, "sum unreadable"),
           count_of(counts, "sum bytes"));
    if (requests == 0) return;
    for (unsigned status = 500; status < 600; status++) {
        char key[32];
        snprintf(key, sizeof key, "status %u", status);
        errors += count_of(counts, key);
    }
    printf("failed: %.2f %%\n", 100.0 * (double)errors / (double)requests);
    printf("answered within: half %.3g ms, 95 %% %.3g ms, 99 %% %.3g ms\n", percentile(counts, 0.5, requests),
           percentile(counts, 0.95, requests), percentile(counts, 0.99, requests));
    struct count *sorted = sorted_counts(counts);
    for (size_t at = 0, shown = 0; at < counts->used && shown < TOP; at++)
        if (strncmp(sorted[at].name, "path ", 5) == 0) printf("%7lu %s\n", sorted[at].count, sorted[at].name + 5), shown++;
}

int main(int argc, char **argv) {
    int merges = argc == 4 && strcmp(argv[1], "--merge") == 0;
    if (argc != 3 && !merges) {
        fprintf(stderr, "usage: logs [--merge] LOGS OUTPUT\n");
        return 2;
    }
    struct counts counts = {0};
    char **paths;
    size_t files = list_files(argv[argc - 2], merges ? "/summary.txt" : "", &paths);
    for (size_t file = 0; file < files; file++) (merges ? read_counts : read_log)(&counts, paths[file]);
    printf("%zu %s\n", files, merges ? "parts" : "files");
    report(&counts);
    write_counts(&counts, argv[argc - 1], "summary.txt");
    return 0;
}
