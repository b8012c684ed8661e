/* Learns to read digits, and writes what it learned as an ONNX model that any runtime can use.
 *
 * Usage: train DIGITS OUTPUT
 *
 * Lines of DIGITS are a digit, a space, and the 64 points of its picture, 0 (paper) to 9 (ink). The network has one layer
 * between: 64 points, 24 units that let nothing negative through, 10 chances. model.onnx has an input `points` (a row for
 * each picture, points divided by 9) and an output `chances`.
 */
#include "../parts.h"

enum { POINTS = 64, UNITS = 24, KINDS = 10, MOST_DIGITS = 100000, PASSES = 30 };

static const float rate = 0.02f;

static float in[POINTS][UNITS], in_constant[UNITS], out[UNITS][KINDS], out_constant[KINDS];

struct digit {
    unsigned char points[POINTS], kind;
};

static size_t read_digits(const char *path, struct digit *digits) {
    FILE *file = open_file(path, "rb");
    char line[128];
    size_t count = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (count == MOST_DIGITS || strspn(line, "0123456789 ") != POINTS + 2) fail("not a digit and its points:", line);
        digits[count].kind = (unsigned char)(line[0] - '0');
        for (int at = 0; at < POINTS; at++) digits[count].points[at] = (unsigned char)(line[at + 2] - '0');
        count++;
    }
    close_file(file, path);
    if (count == 0) fail("no digits in", path);
    return count;
}

/* Shows it a digit, and corrects it; returns whether it had been right. */
static int learn(const struct digit *digit) {
    float units[UNITS], chances[KINDS], sum = 0;
    for (int unit = 0; unit < UNITS; unit++) {
        units[unit] = in_constant[unit];
        for (int at = 0; at < POINTS; at++) units[unit] += in[at][unit] * digit->points[at] / 9;
        units[unit] = fmaxf(units[unit], 0);
    }
    int best = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        chances[kind] = out_constant[kind];
        for (int unit = 0; unit < UNITS; unit++) chances[kind] += out[unit][kind] * units[unit];
        if (chances[kind] > chances[best]) best = kind;
    }
    float highest = chances[best];
    for (int kind = 0; kind < KINDS; kind++) sum += chances[kind] = expf(chances[kind] - highest);
    for (int kind = 0; kind < KINDS; kind++) chances[kind] = chances[kind] / sum - (kind == digit->kind); /* how wrong */
    for (int unit = 0; unit < UNITS; unit++) {
        float back = 0;
        for (int kind = 0; kind < KINDS; kind++) {
            back += out[unit][kind] * chances[kind];
            out[unit][kind] -= rate * chances[kind] * units[unit];
        }
        if (units[unit] == 0) continue;
        in_constant[unit] -= rate * back;
        for (int at = 0; at < POINTS; at++) in[at][unit] -= rate * back * digit->points[at] / 9;
    }
    for (int kind = 0; kind < KINDS; kind++) out_constant[kind] -= rate * chances[kind];
    return best == digit->kind;
}

/* ONNX files are Protocol Buffers: fields of a number and a kind, a varint (0) or bytes with their length before (2). */
struct message {
    unsigned char *bytes;
    size_t size;
};

static void put_raw(struct message *message, const void *bytes, size_t size) {
    if ((message->bytes = realloc(message->bytes, message->size + size + 1)) == NULL) fail("no memory for", "the model");
    memcpy(message->bytes + message->size, bytes, size);
    message->size += size;
}

static void put_varint(struct message *message, uint64_t value) {
    for (; value >= 0x80; value >>= 7) put_raw(message, &(unsigned char){(unsigned char)(value | 0x80)}, 1);
    put_raw(message, &(unsigned char){(unsigned char)value}, 1);
}

static void put_number(struct message *message, unsigned field, uint64_t value) {
    put_varint(message, field << 3);
    put_varint(message, value);
}

static void put_bytes(struct message *message, unsigned field, const void *bytes, size_t size) {
    put_varint(message, field << 3 | 2);
    put_varint(message, size);
    put_raw(message, bytes, size);
}

static void put_text(struct message *message, unsigned field, const char *text) {
    put_bytes(message, field, text, strlen(text));
}

/* Puts a message into another one, and empties it. */
static void put_message(struct message *message, unsigned field, struct message *inner) {
    put_bytes(message, field, inner->bytes, inner->size);
    free(inner->bytes);
    *inner = (struct message){0};
}

/* TensorProto: dims 1, data_type 2 (1: float), name 8, raw_data 9 (little-endian, as WebAssembly is). */
static void put_weights(struct message *graph, const char *name, const float *weights, size_t rows, size_t columns) {
    struct message tensor = {0};
    if (rows) put_number(&tensor, 1, rows);
    put_number(&tensor, 1, columns);
    put_number(&tensor, 2, 1);
    put_text(&tensor, 8, name);
    put_bytes(&tensor, 9, weights, (rows ? rows : 1) * columns * sizeof *weights);
    put_message(graph, 5, &tensor);
}

/* NodeProto: input 1, output 2, name 3, op_type 4. */
static void put_node(struct message *graph, const char *kind, const char *const *inputs, const char *output) {
    struct message node = {0};
    for (; *inputs; inputs++) put_text(&node, 1, *inputs);
    put_text(&node, 2, output);
    put_text(&node, 3, output);
    put_text(&node, 4, kind);
    put_message(graph, 1, &node);
}

/* ValueInfoProto: name 1, type 2 { tensor_type 1 { elem_type 1, shape 2 { dim 1 { dim_value 1, or dim_param 2 } } } } */
static void put_value(struct message *graph, unsigned field, const char *name, size_t columns) {
    struct message rows = {0}, width = {0}, shape = {0}, tensor = {0}, type = {0}, value = {0};
    put_text(&rows, 2, "pictures");
    put_number(&width, 1, columns);
    put_message(&shape, 1, &rows);
    put_message(&shape, 1, &width);
    put_number(&tensor, 1, 1);
    put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    put_text(&value, 1, name);
    put_message(&value, 2, &type);
    put_message(graph, field, &value);
}

static void write_model(const char *folder) {
    struct message graph = {0}, model = {0}, version = {0};
    put_node(&graph, "Gemm", (const char *const[]){"points", "in", "in_constant", NULL}, "sums");
    put_node(&graph, "Relu", (const char *const[]){"sums", NULL}, "units");
    put_node(&graph, "Gemm", (const char *const[]){"units", "out", "out_constant", NULL}, "scores");
    put_node(&graph, "Softmax", (const char *const[]){"scores", NULL}, "chances");
    put_text(&graph, 2, "digits");
    put_weights(&graph, "in", &in[0][0], POINTS, UNITS);
    put_weights(&graph, "in_constant", in_constant, 0, UNITS);
    put_weights(&graph, "out", &out[0][0], UNITS, KINDS);
    put_weights(&graph, "out_constant", out_constant, 0, KINDS);
    put_value(&graph, 11, "points", POINTS);
    put_value(&graph, 12, "chances", KINDS);
    put_number(&model, 1, 7); /* ModelProto: ir_version 1, producer_name 2, graph 7, opset_import 8 { version 2 } */
    put_text(&model, 2, "skrei example");
    put_message(&model, 7, &graph);
    put_number(&version, 2, 13);
    put_message(&model, 8, &version);
    FILE *file = open_in(folder, "model.onnx", "wb");
    fwrite(model.bytes, 1, model.size, file);
    close_file(file, "model.onnx");
    printf("model.onnx has %zu bytes\n", model.size);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: train DIGITS OUTPUT\n");
        return 2;
    }
    struct digit *digits = allocate(MOST_DIGITS, sizeof *digits);
    struct chance chance = chance_of(number_of("SEED", 1), 0);
    size_t count = read_digits(argv[1], digits);
    for (int unit = 0; unit < UNITS; unit++) {
        for (int at = 0; at < POINTS; at++) in[at][unit] = (float)normal(&chance) / 8;
        for (int kind = 0; kind < KINDS; kind++) out[unit][kind] = (float)normal(&chance) / 5;
    }
    for (int pass = 1; pass <= PASSES; pass++) {
        size_t right = 0;
        for (size_t at = 0; at < count; at++) right += (size_t)learn(&digits[next_bits(&chance) % count]);
        if (pass == 1 || pass % 10 == 0) printf("pass %d: %.1f %% right\n", pass, 100.0 * (double)right / (double)count);
    }
    write_model(argv[2]);
    return 0;
}
