/* Simulates a small liquid of Lennard-Jones molecules, or puts many such simulations together.
 *
 * Usage: molecules OUTPUT                    one simulation; which one says its part of the work
 *        molecules --merge PARTS OUTPUT      what the energies.txt of each folder in PARTS come to
 *
 * 108 molecules begin on a lattice in a box whose sides are joined, each simulation with other velocities. They are held
 * at a temperature for a while, then left alone (velocity Verlet), and measured. Alone, their energy is to stay what it
 * is: how far it drifts tells how good the simulation is. Units are those of the potential: energies in epsilon, lengths
 * in sigma. The density is that of liquid argon at its triple point.
 *
 * One simulation visits few of the states of a liquid. Sixteen that know nothing of each other tell its energy, and how
 * sure that is: the deviation of their means divided by four.
 */
#include "../parts.h"

enum { CELLS = 3, MOLECULES = 4 * CELLS * CELLS * CELLS, WARM_STEPS = 400, STEPS = 400, EVERY = 20 };

static const double density = 0.8442, temperature = 0.728, time_step = 0.004, cutoff = 2.5;

typedef double vector[3];

static vector positions[MOLECULES], velocities[MOLECULES], forces[MOLECULES];
static double box;

/* Works out the forces; returns the potential energy. It is shifted to be zero at the cutoff. */
static double interact(void) {
    double potential = 0, edge = pow(cutoff, -6), shift = 4 * (edge * edge - edge);
    memset(forces, 0, sizeof forces);
    for (int one = 0; one < MOLECULES; one++)
        for (int other = one + 1; other < MOLECULES; other++) {
            vector apart;
            double square = 0;
            for (int axis = 0; axis < 3; axis++) {
                double distance = positions[one][axis] - positions[other][axis];
                apart[axis] = distance - box * rint(distance / box); /* the nearest of its images */
                square += apart[axis] * apart[axis];
            }
            if (square >= cutoff * cutoff) continue;
            double sixth = 1 / (square * square * square);
            double force = 48 * (sixth * sixth - sixth / 2) / square;
            potential += 4 * (sixth * sixth - sixth) - shift;
            for (int axis = 0; axis < 3; axis++) {
                forces[one][axis] += force * apart[axis];
                forces[other][axis] -= force * apart[axis];
            }
        }
    return potential;
}

static double kinetic(void) {
    double energy = 0;
    for (int one = 0; one < MOLECULES; one++)
        for (int axis = 0; axis < 3; axis++) energy += velocities[one][axis] * velocities[one][axis] / 2;
    return energy;
}

/* Gives them the temperature, and no movement together. */
static void set_temperature(void) {
    for (int axis = 0; axis < 3; axis++) {
        double sum = 0;
        for (int one = 0; one < MOLECULES; one++) sum += velocities[one][axis];
        for (int one = 0; one < MOLECULES; one++) velocities[one][axis] -= sum / MOLECULES;
    }
    double scale = sqrt(1.5 * (MOLECULES - 1) * temperature / kinetic());
    for (int one = 0; one < MOLECULES; one++)
        for (int axis = 0; axis < 3; axis++) velocities[one][axis] *= scale;
}

static void begin(struct chance *chance) {
    static const vector corners[4] = {{0, 0, 0}, {0.5, 0.5, 0}, {0.5, 0, 0.5}, {0, 0.5, 0.5}};
    box = cbrt(MOLECULES / density);
    for (int one = 0; one < MOLECULES; one++) {
        int cell = one / 4, place[3] = {cell % CELLS, cell / CELLS % CELLS, cell / CELLS / CELLS};
        for (int axis = 0; axis < 3; axis++) {
            positions[one][axis] = (place[axis] + corners[one % 4][axis]) * box / CELLS;
            velocities[one][axis] = normal(chance);
        }
    }
    set_temperature();
}

static double move(void) {
    for (int one = 0; one < MOLECULES; one++)
        for (int axis = 0; axis < 3; axis++) {
            velocities[one][axis] += forces[one][axis] * time_step / 2;
            positions[one][axis] += velocities[one][axis] * time_step;
        }
    double potential = interact();
    for (int one = 0; one < MOLECULES; one++)
        for (int axis = 0; axis < 3; axis++) velocities[one][axis] += forces[one][axis] * time_step / 2;
    return potential;
}

static void simulate(const char *folder) {
    struct chance chance = chance_of(number_of("SEED", 1), part());
    begin(&chance);
    interact();
    for (int step = 0; step < WARM_STEPS; step++) {
        move();
        if (step % EVERY == 0) set_temperature();
    }
    FILE *file = open_in(folder, "energies.txt", "wb");
    double first = 0, last = 0, sum = 0;
    for (int step = 1; step <= STEPS; step++) {
        double potential = move(), moving = kinetic();
        last = potential + moving;
        if (step == 1) first = last;
        if (step % EVERY) continue;
        fprintf(file, "%d %.6f %.6f\n", step, potential / MOLECULES, moving / MOLECULES);
        sum += potential / MOLECULES;
    }
    close_file(file, "energies.txt");
    printf("simulation %zu of %zu: potential energy %.3f, drift %.1e\n", part(), parts(), sum * EVERY / STEPS,
           fabs(last / first - 1));
}

static void merge(const char *folder, const char *output) {
    static double potentials[STEPS / EVERY], movings[STEPS / EVERY];
    char **paths;
    size_t count = list_files(folder, "/energies.txt", &paths);
    double sum = 0, squares = 0, warmth = 0;
    if (count < 2) fail("fewer than two simulations in", folder);
    for (size_t one = 0; one < count; one++) {
        FILE *file = open_file(paths[one], "rb");
        double mean = 0;
        for (int line = 0; line < STEPS / EVERY; line++) {
            double potential, moving;
            int step;
            if (fscanf(file, "%d %lf %lf", &step, &potential, &moving) != 3) fail("too few energies in", paths[one]);
            potentials[line] += potential / (double)count, movings[line] += moving / (double)count;
            mean += potential * EVERY / STEPS;
            warmth += moving * EVERY / STEPS * 2 / 3 * MOLECULES / (MOLECULES - 1) / (double)count;
        }
        close_file(file, paths[one]);
        sum += mean, squares += mean * mean;
    }
    FILE *file = open_in(output, "energies.txt", "wb");
    for (int line = 0; line < STEPS / EVERY; line++)
        fprintf(file, "%d %.6f %.6f\n", (line + 1) * EVERY, potentials[line], movings[line]);
    close_file(file, "energies.txt");
    double mean = sum / (double)count, variance = (squares - sum * mean) / (double)(count - 1);
    printf("%zu simulations of %d molecules\n", count, MOLECULES);
    printf("temperature %.3f\n", warmth);
    printf("potential energy of a molecule %.4f +- %.4f\n", mean, sqrt(fmax(variance, 0) / (double)count));
}

int main(int argc, char **argv) {
    if (argc == 2) return simulate(argv[1]), 0;
    if (argc == 4 && strcmp(argv[1], "--merge") == 0) return merge(argv[2], argv[3]), 0;
    fprintf(stderr, "usage: molecules OUTPUT, or molecules --merge PARTS OUTPUT\n");
    return 2;
}
