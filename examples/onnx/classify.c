/* Reads digits with an ONNX model, whoever made it: a runtime for networks of plain layers.
 *
 * Usage: classify MODEL DIGITS OUTPUT     its share of the files in DIGITS
 *
 * It knows the operators Gemm (also with transB, as PyTorch writes its layers), MatMul, Add, Relu and Softmax over rows of
 * floats, and says which one it does not know. Lines of the files are a digit, a space, and 64 points of 0 to 9; the digit
 * is only for counting how many were told right. OUTPUT/answers.txt has what it read in each file, a digit for each line.
 */
#include "../parts.h"

enum { POINTS = 64, MOST_VALUES = 256, MOST_NODES = 256, MOST_INPUTS = 3 };

/* Bytes of the file; one field of a message of Protocol Buffers. */
struct slice {
    const unsigned char *at, *end;
};

struct field {
    unsigned number;
    uint64_t value; /* of a varint */
    struct slice bytes;
};

struct tensor {
    char name[64];
    size_t rows, columns; /* a vector has one row */
    float *values;
};

struct node {
    char kind[16], output[64], inputs[MOST_INPUTS][64];
    size_t input_count;
    int transposed;
};

static struct tensor tensors[MOST_VALUES];
static struct node nodes[MOST_NODES];
static size_t tensor_count, node_count;
static char input_name[64], output_name[64];

static uint64_t varint(struct slice *slice) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && slice->at < slice->end; shift += 7) {
        unsigned char byte = *slice->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
    }
    fail("a model that breaks off:", "a number");
}

/* Takes the next field of a message; returns whether there is one. */
static int next_field(struct slice *message, struct field *field) {
    if (message->at >= message->end) return 0;
    uint64_t key = varint(message), size;
    field->number = (unsigned)(key >> 3);
    switch (key & 7) {
    case 0: field->value = varint(message); return 1;
    case 1: size = 8; break;
    case 2: size = varint(message); break;
    case 5: size = 4; break;
    default: fail("not a model:", "a field of an unknown kind");
    }
    if (size > (uint64_t)(message->end - message->at)) fail("a model that breaks off:", "a field");
    field->bytes = (struct slice){message->at, message->at + size};
    message->at += size;
    return 1;
}

static void copy_text(char text[64], struct slice bytes) {
    snprintf(text, 64, "%.*s", (int)(bytes.end - bytes.at), (const char *)bytes.at);
}

static struct tensor *new_tensor(void) {
    if (tensor_count == MOST_VALUES) fail("too large a model:", "its weights");
    return &tensors[tensor_count++];
}

static void read_tensor(struct slice message) {
    struct tensor *tensor = new_tensor();
    struct slice raw = {0}, packed = {0};
    size_t dims[2] = {1, 1}, dim_count = 0;
    uint64_t kind = 0;
    for (struct field field; next_field(&message, &field);) {
        if (field.number == 1 && dim_count < 2) dims[dim_count++] = (size_t)field.value;
        else if (field.number == 2) kind = field.value;
        else if (field.number == 4) packed = field.bytes;
        else if (field.number == 8) copy_text(tensor->name, field.bytes);
        else if (field.number == 9) raw = field.bytes;
    }
    if (raw.at == NULL) raw = packed;
    tensor->rows = dim_count == 2 ? dims[0] : 1, tensor->columns = dims[dim_count == 2];
    size_t count = tensor->rows * tensor->columns;
    if (kind != 1 || count > 1 << 24 || (size_t)(raw.end - raw.at) != count * sizeof(float))
        fail("weights that are not floats in rows:", tensor->name);
    tensor->values = allocate(count, sizeof(float));
    memcpy(tensor->values, raw.at, count * sizeof(float));
}

static void read_attribute(struct slice message, struct node *node) {
    char name[64] = "";
    uint64_t value = 0;
    for (struct field field; next_field(&message, &field);) {
        if (field.number == 1) copy_text(name, field.bytes);
        else if (field.number == 3) value = field.value;
    }
    if (strcmp(name, "transB") == 0) node->transposed = value != 0;
}

static void read_node(struct slice message) {
    if (node_count == MOST_NODES) fail("too large a model:", "its operators");
    struct node *node = &nodes[node_count++];
    for (struct field field; next_field(&message, &field);) {
        if (field.number == 1 && node->input_count < MOST_INPUTS) copy_text(node->inputs[node->input_count++], field.bytes);
        else if (field.number == 2) copy_text(node->output, field.bytes);
        else if (field.number == 4)
            snprintf(node->kind, sizeof node->kind, "%.*s", (int)(field.bytes.end - field.bytes.at), (const char *)field.bytes.at);
        else if (field.number == 5) read_attribute(field.bytes, node);
    }
}

static struct tensor *tensor_of(const char *name) {
    for (size_t at = tensor_count; at-- > 0;)
        if (strcmp(tensors[at].name, name) == 0) return &tensors[at];
    return NULL;
}

static void read_graph(struct slice message) {
    char name[64] = "";
    for (struct field field; next_field(&message, &field);) {
        if (field.number == 1) read_node(field.bytes);
        else if (field.number == 5) read_tensor(field.bytes);
        else if (field.number == 11 || field.number == 12) {
            struct slice value = field.bytes;
            for (struct field inner; next_field(&value, &inner);)
                if (inner.number == 1) copy_text(name, inner.bytes);
            if (field.number == 12) memcpy(output_name, name, sizeof name);
            else if (tensor_of(name) == NULL) memcpy(input_name, name, sizeof name); /* weights may stand there too */
        }
    }
}

static void read_model(const char *path) {
    struct stat status;
    FILE *file = open_file(path, "rb");
    if (stat(path, &status) != 0 || status.st_size > 1 << 28) fail("too large a model:", path);
    unsigned char *bytes = allocate((size_t)status.st_size, 1);
    size_t size = fread(bytes, 1, (size_t)status.st_size, file);
    close_file(file, path);
    struct slice model = {bytes, bytes + size};
    for (struct field field; next_field(&model, &field);)
        if (field.number == 7) read_graph(field.bytes);
    if (!*input_name || !*output_name || node_count == 0) fail("no model with operators, an input and an output:", path);
}

/* Of a tensor that has one row, the same row for all. */
static float at(const struct tensor *tensor, size_t row, size_t column) {
    return tensor->values[(tensor->rows == 1 ? 0 : row) * tensor->columns + (tensor->columns == 1 ? 0 : column)];
}

static void multiply(struct tensor *made, const struct tensor *left, const struct tensor *right, int transposed) {
    if (left->columns != (transposed ? right->columns : right->rows)) fail("layers that do not fit:", made->name);
    made->columns = transposed ? right->rows : right->columns;
    made->values = allocate(made->rows * made->columns, sizeof(float));
    for (size_t row = 0; row < made->rows; row++)
        for (size_t column = 0; column < made->columns; column++) {
            float sum = 0;
            for (size_t inner = 0; inner < left->columns; inner++)
                sum += at(left, row, inner) * (transposed ? at(right, column, inner) : at(right, inner, column));
            made->values[row * made->columns + column] = sum;
        }
}

static void softmax(float *values, size_t count) {
    float highest = values[0], sum = 0;
    for (size_t at = 1; at < count; at++) highest = fmaxf(highest, values[at]);
    for (size_t at = 0; at < count; at++) sum += values[at] = expf(values[at] - highest);
    for (size_t at = 0; at < count; at++) values[at] /= sum;
}

static void run(const struct node *node) {
    struct tensor *inputs[MOST_INPUTS] = {0};
    for (size_t input = 0; input < node->input_count; input++)
        if ((inputs[input] = tensor_of(node->inputs[input])) == NULL) fail("nothing makes", node->inputs[input]);
    if (inputs[0] == NULL) fail("an operator without inputs:", node->kind);
    int gemm = strcmp(node->kind, "Gemm") == 0, adds = strcmp(node->kind, "Add") == 0;
    struct tensor *made = new_tensor(), *added = gemm ? inputs[2] : adds ? inputs[1] : NULL;
    memcpy(made->name, node->output, sizeof made->name);
    made->rows = inputs[0]->rows, made->columns = inputs[0]->columns;
    if ((gemm || strcmp(node->kind, "MatMul") == 0) && inputs[1] != NULL) {
        multiply(made, inputs[0], inputs[1], node->transposed);
    } else {
        made->values = allocate(made->rows * made->columns, sizeof(float));
        memcpy(made->values, inputs[0]->values, made->rows * made->columns * sizeof(float));
    }
    size_t count = made->rows * made->columns;
    if (added != NULL && added->columns != made->columns && added->columns != 1) fail("layers that do not fit:", made->name);
    for (size_t value = 0; added != NULL && value < count; value++)
        made->values[value] += at(added, value / made->columns, value % made->columns);
    if (strcmp(node->kind, "Relu") == 0) {
        for (size_t value = 0; value < count; value++) made->values[value] = fmaxf(made->values[value], 0);
    } else if (strcmp(node->kind, "Softmax") == 0) {
        for (size_t row = 0; row < made->rows; row++) softmax(made->values + row * made->columns, made->columns);
    } else if (!gemm && !adds && strcmp(node->kind, "MatMul") != 0) {
        fail("an operator that this program does not know:", node->kind);
    }
}

/* Returns a row of chances for each row of points. */
static const struct tensor *run_all(float *points, size_t rows) {
    size_t weights = tensor_count;
    struct tensor *input = new_tensor();
    *input = (struct tensor){.rows = rows, .columns = POINTS, .values = points};
    memcpy(input->name, input_name, sizeof input->name);
    for (size_t node = 0; node < node_count; node++) run(&nodes[node]);
    const struct tensor *output = tensor_of(output_name);
    if (output == NULL || output->rows != rows) fail("nothing makes", output_name);
    for (size_t made = weights + 1; made < tensor_count; made++)
        if (&tensors[made] != output) free(tensors[made].values);
    tensor_count = weights;
    return output;
}

static void classify(const char *path, FILE *answers) {
    FILE *file = open_file(path, "rb");
    char line[128], *kinds = NULL;
    float *points = NULL;
    size_t rows = 0, right = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strspn(line, "0123456789 ") != POINTS + 2) fail("not a digit and its points:", line);
        points = realloc(points, (rows + 1) * POINTS * sizeof *points), kinds = realloc(kinds, rows + 1);
        if (points == NULL || kinds == NULL) fail("no memory for", path);
        kinds[rows] = line[0];
        for (int at = 0; at < POINTS; at++) points[rows * POINTS + (size_t)at] = (float)(line[at + 2] - '0') / 9;
        rows++;
    }
    close_file(file, path);
    if (rows == 0) return;
    const struct tensor *chances = run_all(points, rows);
    fprintf(answers, "%s ", file_name(path));
    for (size_t row = 0; row < rows; row++) {
        size_t best = 0;
        for (size_t kind = 1; kind < chances->columns; kind++)
            if (at(chances, row, kind) > at(chances, row, best)) best = kind;
        right += (char)('0' + best) == kinds[row];
        fputc((int)('0' + best % 10), answers);
    }
    fputc('\n', answers);
    printf("%s: %zu of %zu digits are read right\n", file_name(path), right, rows);
    free(chances->values), free(points), free(kinds);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: classify MODEL DIGITS OUTPUT\n");
        return 2;
    }
    read_model(argv[1]);
    char **paths;
    size_t files = list_files(argv[2], "", &paths);
    FILE *answers = open_in(argv[3], "answers.txt", "wb");
    for (size_t file = part(); file < files; file += parts()) classify(paths[file], answers);
    close_file(answers, "answers.txt");
    return 0;
}
