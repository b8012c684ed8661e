/* Makes small pictures of large ones: PNG in, PNG out, with a decoder of its own.
 *
 * Usage: thumbnails SIZE PICTURES OUTPUT     its share of the files in PICTURES, at most SIZE pixels wide and high
 *
 * It reads pictures of 8 bits a channel, grey or coloured, with and without transparency, that are not interlaced. Of one
 * that it cannot read it says why, goes on with the others, and ends with 1.
 */
#include "../parts.h"

enum { MOST_PIXELS = 1 << 26, MAX_BITS = 15, LENGTHS = 288 + 32, MOST_STORED = 65535 };

struct picture {
    uint32_t width, height, channels;
    unsigned char *pixels;
};

/* Why the picture at hand cannot be read; functions that may fail return 0 then. */
static const char *why;

static int refuse(const char *reason) {
    if (why == NULL) why = reason;
    return 0;
}

/* ---- Deflate, as RFC 1951 has it ---- */

struct inflating {
    const unsigned char *in, *in_end;
    unsigned char *out, *out_at, *out_end;
    uint32_t bits;
    unsigned bit_count;
};

/* How many codes there are of each length, and what they stand for, by length and then by code. */
struct code {
    uint16_t counts[MAX_BITS + 1], symbols[LENGTHS];
};

static unsigned take_bits(struct inflating *state, unsigned count) {
    while (state->bit_count < count) {
        if (state->in == state->in_end) return (unsigned)refuse("it breaks off");
        state->bits |= (uint32_t)*state->in++ << state->bit_count;
        state->bit_count += 8;
    }
    unsigned taken = state->bits & ((1u << count) - 1);
    state->bits >>= count, state->bit_count -= count;
    return taken;
}

static void make_code(struct code *code, const unsigned char *lengths, unsigned count) {
    unsigned offsets[MAX_BITS + 2] = {0};
    memset(code, 0, sizeof *code);
    for (unsigned symbol = 0; symbol < count; symbol++) code->counts[lengths[symbol]]++;
    code->counts[0] = 0;
    for (unsigned length = 1; length <= MAX_BITS; length++) offsets[length + 1] = offsets[length] + code->counts[length];
    for (unsigned symbol = 0; symbol < count; symbol++)
        if (lengths[symbol]) code->symbols[offsets[lengths[symbol]]++] = (uint16_t)symbol;
}

/* Codes of one length are numbers in a row, so a code is found by how far it is from the first of its length. */
static unsigned take_symbol(struct inflating *state, const struct code *code) {
    unsigned value = 0, first = 0, before = 0;
    for (unsigned length = 1; length <= MAX_BITS && why == NULL; length++) {
        value |= take_bits(state, 1);
        unsigned count = code->counts[length];
        if (value < first) break; /* more codes than fit: nobody wrote that */
        if (value < first + count) return code->symbols[before + value - first];
        before += count, first = (first + count) << 1, value <<= 1;
    }
    return (unsigned)refuse("its data is damaged");
}

static int take_block(struct inflating *state, const struct code *literals, const struct code *distances) {
    static const uint16_t length_from[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                           31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const unsigned char length_bits[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const uint16_t distance_from[] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                             193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    for (;;) {
        unsigned symbol = take_symbol(state, literals);
        if (why != NULL) return 0;
        if (symbol == 256) return 1;
        if (symbol < 256) {
            if (state->out_at == state->out_end) return refuse("it has more data than pixels");
            *state->out_at++ = (unsigned char)symbol;
            continue;
        }
        if (symbol > 285) return refuse("its data is damaged");
        size_t length = length_from[symbol - 257] + take_bits(state, length_bits[symbol - 257]);
        unsigned far = take_symbol(state, distances);
        if (why != NULL || far > 29) return refuse("its data is damaged");
        size_t distance = distance_from[far] + take_bits(state, far < 4 ? 0 : far / 2 - 1);
        if (distance > (size_t)(state->out_at - state->out)) return refuse("its data is damaged");
        if (length > (size_t)(state->out_end - state->out_at)) return refuse("it has more data than pixels");
        for (; length; length--, state->out_at++) *state->out_at = *(state->out_at - distance);
    }
}

static int take_stored(struct inflating *state) {
    state->bits = state->bit_count = 0;
    if (state->in_end - state->in < 4) return refuse("it breaks off");
    size_t length = state->in[0] | (size_t)state->in[1] << 8;
    state->in += 4;
    if (length > (size_t)(state->in_end - state->in)) return refuse("it breaks off");
    if (length > (size_t)(state->out_end - state->out_at)) return refuse("it has more data than pixels");
    memcpy(state->out_at, state->in, length);
    state->in += length, state->out_at += length;
    return 1;
}

/* Codes of lengths that are told first, themselves in a code. */
static int take_own_codes(struct inflating *state, struct code *literals, struct code *distances) {
    static const unsigned char order[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    unsigned char lengths[LENGTHS] = {0};
    unsigned literal_count = take_bits(state, 5) + 257, all = literal_count + take_bits(state, 5) + 1;
    unsigned told = take_bits(state, 4) + 4;
    for (unsigned at = 0; at < told; at++) lengths[order[at]] = (unsigned char)take_bits(state, 3);
    make_code(literals, lengths, 19);
    memset(lengths, 0, sizeof lengths);
    for (unsigned at = 0; at < all;) {
        unsigned symbol = take_symbol(state, literals), times = 1, length = symbol;
        if (why != NULL || (symbol == 16 && at == 0)) return refuse("its data is damaged");
        if (symbol == 16) length = lengths[at - 1], times = 3 + take_bits(state, 2);
        if (symbol == 17) length = 0, times = 3 + take_bits(state, 3);
        if (symbol == 18) length = 0, times = 11 + take_bits(state, 7);
        if (times > all - at) return refuse("its data is damaged");
        for (; times; times--) lengths[at++] = (unsigned char)length;
    }
    make_code(distances, lengths + literal_count, all - literal_count);
    make_code(literals, lengths, literal_count);
    return why == NULL;
}

static void usual_codes(struct code *literals, struct code *distances) {
    unsigned char lengths[288];
    for (unsigned symbol = 0; symbol < 288; symbol++)
        lengths[symbol] = symbol < 144 ? 8 : symbol < 256 ? 9 : symbol < 280 ? 7 : 8;
    make_code(literals, lengths, 288);
    memset(lengths, 5, 30);
    make_code(distances, lengths, 30);
}

/* Unpacks a zlib stream of exactly `size` bytes. */
static int inflate(const unsigned char *in, size_t in_size, unsigned char *out, size_t size) {
    struct inflating state = {.in = in + 2, .in_end = in + in_size, .out = out, .out_at = out, .out_end = out + size};
    struct code literals, distances;
    if (in_size < 6 || (in[0] & 15) != 8) return refuse("its data is not packed as PNG says");
    for (unsigned last = 0; !last;) {
        last = take_bits(&state, 1);
        unsigned kind = take_bits(&state, 2);
        if (why != NULL) return 0;
        if (kind == 3) return refuse("its data is damaged");
        if (kind == 0 ? !take_stored(&state) : kind == 1 ? (usual_codes(&literals, &distances), 0) : !take_own_codes(&state, &literals, &distances))
            return 0;
        if (kind && !take_block(&state, &literals, &distances)) return 0;
    }
    return state.out_at == state.out_end || refuse("it has fewer data than pixels");
}

/* ---- PNG ---- */

static const unsigned char signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

static uint32_t number_at(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int paeth(int left, int up, int corner) {
    int guess = left + up - corner, to_left = abs(guess - left), to_up = abs(guess - up), to_corner = abs(guess - corner);
    return to_left <= to_up && to_left <= to_corner ? left : to_up <= to_corner ? up : corner;
}

/* Takes the filters off the rows in `raw`, each with one byte before it that says which, into the picture. */
static int unfilter(const unsigned char *raw, struct picture *picture) {
    size_t width = (size_t)picture->width * picture->channels, back = picture->channels;
    for (size_t row = 0; row < picture->height; row++, raw += width + 1) {
        unsigned char *line = picture->pixels + row * width;
        for (size_t at = 0; at < width; at++) {
            int left = at < back ? 0 : line[at - back], up = row ? line[at - width] : 0;
            int corner = row && at >= back ? line[at - width - back] : 0, by;
            switch (raw[0]) {
            case 0: by = 0; break;
            case 1: by = left; break;
            case 2: by = up; break;
            case 3: by = (left + up) / 2; break;
            case 4: by = paeth(left, up, corner); break;
            default: return refuse("its data is damaged");
            }
            line[at] = (unsigned char)(raw[at + 1] + by);
        }
    }
    return 1;
}

static int read_header(const unsigned char *header, uint32_t size, struct picture *picture) {
    static const unsigned char channels[] = {1, 0, 3, 0, 2, 0, 4};
    if (size != 13) return refuse("its header is damaged");
    picture->width = number_at(header), picture->height = number_at(header + 4);
    picture->channels = header[9] <= 6 ? channels[header[9]] : 0;
    if (header[8] != 8 || picture->channels == 0) return refuse("only 8 bits a channel, and no palettes, are read here");
    if (header[12]) return refuse("interlaced pictures are not read here");
    if (picture->width == 0 || picture->height == 0 || picture->width > MOST_PIXELS / picture->height)
        return refuse("it has no pixels, or too many");
    return 1;
}

/* Reads a picture from its file's bytes, whose packed data is moved together at their beginning. */
static int decode(unsigned char *file, size_t size, struct picture *picture) {
    size_t packed = 0;
    if (size < 8 || memcmp(file, signature, 8) != 0) return refuse("it is no PNG");
    for (size_t at = 8; at + 12 <= size;) {
        uint32_t length = number_at(file + at);
        const unsigned char *kind = file + at + 4;
        if (length > size - at - 12) return refuse("it breaks off");
        if (memcmp(kind, "IHDR", 4) == 0 && !read_header(kind + 4, length, picture)) return 0;
        if (memcmp(kind, "IDAT", 4) == 0) memmove(file + packed, kind + 4, length), packed += length;
        at += length + 12;
    }
    if (picture->channels == 0) return refuse("it has no header");
    size_t width = (size_t)picture->width * picture->channels, rows = picture->height;
    unsigned char *raw = allocate(rows, width + 1);
    picture->pixels = allocate(rows, width);
    int done = inflate(file, packed, raw, rows * (width + 1)) && unfilter(raw, picture);
    free(raw);
    return done;
}

/* Each small pixel is the mean of the large ones that it stands for. */
static struct picture shrink(const struct picture *large, uint32_t most) {
    uint32_t longer = large->width > large->height ? large->width : large->height;
    struct picture small = *large;
    if (longer > most) {
        small.width = (uint32_t)((uint64_t)large->width * most / longer), small.width += small.width == 0;
        small.height = (uint32_t)((uint64_t)large->height * most / longer), small.height += small.height == 0;
    }
    small.pixels = allocate((size_t)small.width * small.height, small.channels);
    for (uint32_t row = 0; row < small.height; row++)
        for (uint32_t column = 0; column < small.width; column++) {
            size_t top = (size_t)row * large->height / small.height, bottom = (size_t)(row + 1) * large->height / small.height;
            size_t left = (size_t)column * large->width / small.width, right = (size_t)(column + 1) * large->width / small.width;
            for (uint32_t channel = 0; channel < small.channels; channel++) {
                uint64_t sum = 0, count = (bottom - top) * (right - left);
                for (size_t y = top; y < bottom; y++)
                    for (size_t x = left; x < right; x++) sum += large->pixels[(y * large->width + x) * large->channels + channel];
                small.pixels[((size_t)row * small.width + column) * small.channels + channel] = (unsigned char)((sum + count / 2) / count);
            }
        }
    return small;
}

static uint32_t crc_of(const unsigned char *bytes, size_t size) {
    uint32_t crc = 0xffffffffu;
    for (size_t at = 0; at < size; at++) {
        crc ^= bytes[at];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void put_number(unsigned char *at, uint32_t number) {
    at[0] = (unsigned char)(number >> 24), at[1] = (unsigned char)(number >> 16);
    at[2] = (unsigned char)(number >> 8), at[3] = (unsigned char)number;
}

/* Writes a chunk whose kind and data are the `size` bytes from `chunk + 4` on; there is room before and after them. */
static void write_chunk(FILE *file, unsigned char *chunk, size_t size) {
    put_number(chunk, (uint32_t)size - 4);
    put_number(chunk + 4 + size, crc_of(chunk + 4, size));
    fwrite(chunk, 1, size + 8, file);
}

/* Writes it unpacked: a thumbnail is small, and a packer would be longer than all of this. */
static void encode(const struct picture *picture, FILE *file) {
    static const unsigned char kinds[] = {0, 0, 4, 2, 6};
    unsigned char header[25] = "....IHDR", end[12] = "....IEND";
    size_t width = (size_t)picture->width * picture->channels, size = (width + 1) * picture->height;
    unsigned char *raw = allocate(size, 1), *data = allocate(size + (size / MOST_STORED + 1) * 5 + 18, 1), *at = data + 10;
    uint32_t low = 1, high = 0; /* Adler-32 */
    for (size_t row = 0; row < picture->height; row++) memcpy(raw + row * (width + 1) + 1, picture->pixels + row * width, width);
    for (size_t byte = 0; byte < size; byte++) low = (low + raw[byte]) % 65521, high = (high + low) % 65521;
    memcpy(data + 4, "IDAT\x78\x01", 6);
    for (size_t from = 0; from < size;) {
        size_t length = size - from < MOST_STORED ? size - from : MOST_STORED;
        *at++ = from + length == size;
        *at++ = length & 255, *at++ = (unsigned char)(length >> 8), *at++ = ~length & 255, *at++ = (unsigned char)(~length >> 8 & 255);
        memcpy(at, raw + from, length);
        at += length, from += length;
    }
    put_number(at, high << 16 | low);
    put_number(header + 8, picture->width), put_number(header + 12, picture->height);
    header[16] = 8, header[17] = kinds[picture->channels];
    fwrite(signature, 1, sizeof signature, file);
    write_chunk(file, header, 17);
    write_chunk(file, data, (size_t)(at + 4 - data - 4));
    write_chunk(file, end, 4);
    free(raw), free(data);
}

static int make_thumbnail(const char *path, uint32_t most, const char *output) {
    struct stat status;
    struct picture large = {0};
    if (stat(path, &status) != 0) fail("cannot read", path);
    unsigned char *bytes = allocate((size_t)status.st_size, 1);
    FILE *file = open_file(path, "rb");
    size_t size = fread(bytes, 1, (size_t)status.st_size, file);
    close_file(file, path);
    why = NULL;
    if (decode(bytes, size, &large)) {
        struct picture small = shrink(&large, most);
        FILE *made = open_in(output, file_name(path), "wb");
        encode(&small, made);
        close_file(made, file_name(path));
        printf("%s: %u x %u, now %u x %u\n", file_name(path), large.width, large.height, small.width, small.height);
        free(small.pixels);
    } else {
        fprintf(stderr, "%s is left out: %s\n", file_name(path), why);
    }
    free(large.pixels), free(bytes);
    return why == NULL;
}

int main(int argc, char **argv) {
    uint32_t most = argc == 4 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    if (most == 0) {
        fprintf(stderr, "usage: thumbnails SIZE PICTURES OUTPUT\n");
        return 2;
    }
    char **paths;
    size_t files = list_files(argv[2], "", &paths);
    int all = 1;
    for (size_t file = part(); file < files; file += parts()) all &= make_thumbnail(paths[file], most, argv[3]);
    return !all;
}
