/* Teaches a small neural network to be a wave, and can be stopped at any time: it goes on from where it was.
 *
 * Usage: train STEPS CHECKPOINTS OUTPUT
 *
 * Every ten thousand steps, and when it is asked to end, it writes all that it knows to CHECKPOINTS: to a file beside the last
 * one, which then takes its place in one move, so that there is a whole one whatever happens. It is asked to end by a file
 * that appears (SKREI_STOP_FILE says which), and looks for it between two steps. A run that was stopped and one that was not
 * learn the same, bit by bit.
 */
#include "../parts.h"
#include <unistd.h>

enum { HIDDEN = 16, POINTS = 64, EVERY = 10000, LOOK_EVERY = 100 };

static const double rate = 0.02, pi = 3.14159265358979323846;

/* What the program knows: nothing else is to be kept. */
struct state {
    char kind[8];
    uint64_t steps;
    double in[HIDDEN], shift[HIDDEN], out[HIDDEN], constant;
};

static const char kind[8] = "wave-1\n";

static struct state begin(void) {
    struct state state = {0};
    struct chance chance = chance_of(number_of("SEED", 1), 0);
    memcpy(state.kind, kind, sizeof kind);
    for (int at = 0; at < HIDDEN; at++)
        state.in[at] = 2 * normal(&chance), state.shift[at] = normal(&chance), state.out[at] = normal(&chance) / 4;
    return state;
}

/* One step down the error's slope over all points; returns the error before. */
static double step(struct state *state) {
    struct state slope = {0};
    double error = 0;
    for (int point = 0; point < POINTS; point++) {
        double x = 2.0 * point / (POINTS - 1) - 1, y = state->constant, active[HIDDEN];
        for (int at = 0; at < HIDDEN; at++)
            y += state->out[at] * (active[at] = tanh(state->in[at] * x + state->shift[at]));
        double wrong = y - sin(pi * x);
        error += wrong * wrong / POINTS;
        slope.constant += wrong;
        for (int at = 0; at < HIDDEN; at++) {
            double back = wrong * state->out[at] * (1 - active[at] * active[at]);
            slope.out[at] += wrong * active[at], slope.in[at] += back * x, slope.shift[at] += back;
        }
    }
    double by = rate * 2 / POINTS;
    for (int at = 0; at < HIDDEN; at++)
        state->in[at] -= by * slope.in[at], state->shift[at] -= by * slope.shift[at], state->out[at] -= by * slope.out[at];
    state->constant -= by * slope.constant;
    state->steps++;
    return error;
}

static void save(const struct state *state, const char *folder) {
    char path[MAX_PATH], new_path[MAX_PATH];
    snprintf(path, sizeof path, "%s/checkpoint", folder);
    snprintf(new_path, sizeof new_path, "%s/checkpoint.new", folder);
    FILE *file = open_file(new_path, "wb");
    if (fwrite(state, sizeof *state, 1, file) != 1 || fflush(file) != 0 || fsync(fileno(file)) != 0)
        fail("cannot write", new_path);
    close_file(file, new_path);
    if (rename(new_path, path) != 0) fail("cannot replace", path);
}

static struct state restore(const char *folder) {
    char path[MAX_PATH];
    struct state state;
    snprintf(path, sizeof path, "%s/checkpoint", folder);
    if (access(path, F_OK) != 0) return errno = 0, printf("begins from nothing\n"), begin();
    FILE *file = open_file(path, "rb");
    if (fread(&state, sizeof state, 1, file) != 1 || memcmp(state.kind, kind, sizeof kind) != 0)
        fail("this is no checkpoint of ours, move it away:", path);
    close_file(file, path);
    printf("goes on after step %llu\n", (unsigned long long)state.steps);
    return state;
}

int main(int argc, char **argv) {
    const char *stop = getenv("SKREI_STOP_FILE");
    uint64_t steps = argc == 4 ? strtoull(argv[1], NULL, 10) : 0;
    if (steps == 0) {
        fprintf(stderr, "usage: train STEPS CHECKPOINTS OUTPUT\n");
        return 2;
    }
    struct state state = restore(argv[2]);
    double error = 0;
    while (state.steps < steps) {
        error = step(&state);
        if (state.steps % EVERY == 0) {
            save(&state, argv[2]);
            printf("step %llu: error %.6f\n", (unsigned long long)state.steps, error);
            fflush(stdout);
        }
        if (state.steps % LOOK_EVERY == 0 && stop != NULL && access(stop, F_OK) == 0) {
            save(&state, argv[2]);
            printf("asked to end: kept step %llu\n", (unsigned long long)state.steps);
            return 0;
        }
    }
    FILE *file = open_in(argv[3], "wave.txt", "wb");
    for (int at = 0; at < HIDDEN; at++) fprintf(file, "%.17g %.17g %.17g\n", state.in[at], state.shift[at], state.out[at]);
    fprintf(file, "%.17g\n", state.constant);
    close_file(file, "wave.txt");
    save(&state, argv[2]);
    printf("done after %llu steps\n", (unsigned long long)state.steps);
    return 0;
}
