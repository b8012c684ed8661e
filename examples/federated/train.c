/* Learns to tell two kinds of rows apart (logistic regression), at many places that do not show each other their rows.
 *
 * Usage: train ROWS OUTPUT                  a model of these rows, from nothing
 *        train --from MODEL ROWS OUTPUT     goes on from a model
 *        train --average PARTS OUTPUT       the average of the model.txt of each folder in PARTS
 *        train --score MODEL ROWS           how many of these rows it tells right
 *
 * ROWS is a folder of CSV files: numbers, and at last 0 or 1. model.txt is the number of rows that it was learned from, and
 * a weight a line, the constant last. Averages count each model by its rows ("federated averaging").
 */
#include "../parts.h"

enum { MOST_WEIGHTS = 256, PASSES = 40 };

static const double rate = 0.05;

struct model {
    double rows;
    size_t size; /* of the weights, the constant among them; 0: not known yet */
    double weights[MOST_WEIGHTS];
};

/* Reads the next row; returns whether there is one. */
static int read_row(FILE *file, const char *path, struct model *model, double *row, int *kind) {
    char line[8192];
    if (fgets(line, sizeof line, file) == NULL) return 0;
    size_t count = 0;
    for (char *at = line, *end; count < MOST_WEIGHTS; at = end + 1) {
        row[count++] = strtod(at, &end);
        if (end == at) fail("a row with something else than numbers in", path);
        if (*end != ',') break;
    }
    if (model->size == 0) model->size = count;
    if (count != model->size) fail("rows of another length than before in", path);
    *kind = row[count - 1] != 0;
    row[count - 1] = 1; /* what the constant counts for */
    return 1;
}

static double chance_of_one(const struct model *model, const double *row) {
    double sum = 0;
    for (size_t at = 0; at < model->size; at++) sum += model->weights[at] * row[at];
    return 1 / (1 + exp(-sum));
}

typedef void use_row(struct model *model, const double *row, int kind);

static size_t right;

static void learn(struct model *model, const double *row, int kind) {
    double wrong = kind - chance_of_one(model, row);
    for (size_t at = 0; at < model->size; at++) model->weights[at] += rate * wrong * row[at];
}

static void score(struct model *model, const double *row, int kind) {
    right += (chance_of_one(model, row) > 0.5) == kind;
}

/* Shows all rows of a folder to `use`, once; returns how many there are. */
static size_t each_row(const char *folder, struct model *model, use_row *use) {
    char **paths;
    size_t files = list_files(folder, "", &paths), rows = 0;
    for (size_t at = 0; at < files; free(paths[at++])) {
        FILE *file = open_file(paths[at], "rb");
        double row[MOST_WEIGHTS];
        for (int kind; read_row(file, paths[at], model, row, &kind); rows++) use(model, row, kind);
        close_file(file, paths[at]);
    }
    free(paths);
    if (rows == 0) fail("no rows in", folder);
    return rows;
}

static struct model read_model(const char *path) {
    struct model model = {0};
    FILE *file = open_file(path, "rb");
    if (fscanf(file, "%lf", &model.rows) != 1) fail("no model:", path);
    while (model.size < MOST_WEIGHTS && fscanf(file, "%lf", &model.weights[model.size]) == 1) model.size++;
    close_file(file, path);
    return model;
}

static void write_model(const struct model *model, const char *folder) {
    FILE *file = open_in(folder, "model.txt", "wb");
    fprintf(file, "%.0f\n", model->rows);
    for (size_t at = 0; at < model->size; at++) fprintf(file, "%.9g\n", model->weights[at]);
    close_file(file, "model.txt");
}

static void train(struct model model, const char *rows, const char *output) {
    for (int pass = 0; pass < PASSES; pass++) model.rows = (double)each_row(rows, &model, learn);
    write_model(&model, output);
    printf("learned from %.0f rows, which stay here\n", model.rows);
}

static void average(const char *folder, const char *output) {
    struct model sum = {0};
    char **paths;
    size_t count = list_files(folder, "/model.txt", &paths);
    for (size_t one = 0; one < count; one++) {
        struct model model = read_model(paths[one]);
        if (one > 0 && model.size != sum.size) fail("a model of another size:", paths[one]);
        sum.size = model.size, sum.rows += model.rows;
        for (size_t at = 0; at < model.size; at++) sum.weights[at] += model.rows * model.weights[at];
    }
    if (sum.rows == 0) fail("no models in", folder);
    for (size_t at = 0; at < sum.size; at++) sum.weights[at] /= sum.rows;
    write_model(&sum, output);
    printf("the average of %zu models, of %.0f rows\n", count, sum.rows);
}

int main(int argc, char **argv) {
    const char *what = argc > 3 ? argv[1] : "";
    if (argc == 3) {
        train((struct model){0}, argv[1], argv[2]);
    } else if (argc == 5 && strcmp(what, "--from") == 0) {
        train(read_model(argv[2]), argv[3], argv[4]);
    } else if (argc == 4 && strcmp(what, "--average") == 0) {
        average(argv[2], argv[3]);
    } else if (argc == 4 && strcmp(what, "--score") == 0) {
        struct model model = read_model(argv[2]);
        size_t rows = each_row(argv[3], &model, score);
        printf("%zu of %zu rows are told right: %.1f %%\n", right, rows, 100.0 * (double)right / (double)rows);
    } else {
        fprintf(stderr, "usage: train [--from MODEL] ROWS OUTPUT, --average PARTS OUTPUT, or --score MODEL ROWS\n");
        return 2;
    }
    return 0;
}
