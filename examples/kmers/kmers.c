/* Counts the k-mers of sequencing reads: all runs of k bases, each the same as its reverse complement.
 *
 * Usage: kmers K READS OUTPUT             its share of the FASTA files in READS
 *        kmers --merge K PARTS OUTPUT     adds up the kmers.txt of each folder in PARTS, and reports
 *
 * A read comes from either strand of the genome, so a k-mer and its reverse complement are one thing; the one that comes
 * first by its bases stands for both. Two bits make a base: a k-mer of up to 31 bases is one integer. What holds another
 * letter than A, C, G and T (N: the machine could not tell) is no k-mer.
 *
 * A genome that was read c times over shows each of its k-mers about c times, and each wrong base makes up to k k-mers
 * that are seen once or twice. So the histogram of the counts has a hill at c, and the number of all k-mers in it divided
 * by c is the length of the genome.
 */
#include "../parts.h"

enum { MOST_BASES = 31, FIRST_SLOTS = 1 << 14, HISTOGRAM = 1000 };

struct slot {
    uint64_t kmer;
    uint32_t count; /* 0: free */
};

static struct slot *slots;
static size_t slot_count, used;

static struct slot *slot_of(uint64_t kmer) {
    size_t slot = (size_t)((kmer * 0x9e3779b97f4a7c15u) >> 20) & (slot_count - 1);
    while (slots[slot].count && slots[slot].kmer != kmer) slot = (slot + 1) & (slot_count - 1);
    return &slots[slot];
}

static void add(uint64_t kmer, uint32_t count) {
    if (used * 2 >= slot_count) {
        struct slot *smaller = slots;
        size_t had = slot_count;
        slot_count = had ? had * 2 : FIRST_SLOTS;
        slots = allocate(slot_count, sizeof *slots);
        for (size_t at = 0; at < had; at++)
            if (smaller[at].count) *slot_of(smaller[at].kmer) = smaller[at];
        free(smaller);
    }
    struct slot *slot = slot_of(kmer);
    if (slot->count == 0) used++;
    *slot = (struct slot){kmer, slot->count + count};
}

static int code_of(int letter) {
    switch (letter | 0x20) {
    case 'a': return 0;
    case 'c': return 1;
    case 'g': return 2;
    case 't': return 3;
    default: return -1;
    }
}

static void count_file(const char *path, unsigned k) {
    FILE *file = open_file(path, "rb");
    uint64_t forward = 0, backward = 0, mask = (UINT64_C(1) << (2 * k)) - 1;
    unsigned length = 0;
    for (int letter; (letter = getc(file)) != EOF;) {
        if (letter == '\n' || letter == '\r') continue; /* a sequence may go over several lines */
        if (letter == '>') {                            /* the name of the next one */
            while (letter != '\n' && letter != EOF) letter = getc(file);
            length = 0;
            continue;
        }
        int code = code_of(letter);
        if (code < 0) {
            length = 0;
            continue;
        }
        forward = ((forward << 2) | (uint64_t)code) & mask;
        backward = (backward >> 2) | ((uint64_t)(3 - code) << (2 * (k - 1)));
        if (++length >= k) add(forward < backward ? forward : backward, 1);
    }
    close_file(file, path);
}

static void merge_file(const char *path, unsigned k) {
    FILE *file = open_file(path, "rb");
    char bases[MOST_BASES + 1];
    unsigned count;
    int fields;
    while ((fields = fscanf(file, "%31s %u", bases, &count)) == 2 && strlen(bases) == k) {
        uint64_t kmer = 0;
        for (unsigned at = 0; at < k; at++) kmer = (kmer << 2) | (uint64_t)(code_of(bases[at]) & 3);
        add(kmer, count);
    }
    if (fields != EOF) fail("other lines than `kmer count` in", path);
    close_file(file, path);
}

static int by_kmer(const void *left, const void *right) {
    uint64_t a = ((const struct slot *)left)->kmer, b = ((const struct slot *)right)->kmer;
    return a < b ? -1 : a > b;
}

static void write_kmers(const char *folder, unsigned k) {
    struct slot *sorted = allocate(used, sizeof *sorted);
    size_t found = 0;
    for (size_t at = 0; at < slot_count; at++)
        if (slots[at].count) sorted[found++] = slots[at];
    qsort(sorted, found, sizeof *sorted, by_kmer);
    FILE *file = open_in(folder, "kmers.txt", "wb");
    for (size_t at = 0; at < found; at++) {
        char bases[MOST_BASES + 1] = {0};
        for (unsigned base = 0; base < k; base++) bases[base] = "ACGT"[(sorted[at].kmer >> (2 * (k - 1 - base))) & 3];
        fprintf(file, "%s %u\n", bases, sorted[at].count);
    }
    close_file(file, "kmers.txt");
    free(sorted);
}

/* Says how often k-mers are seen how often, and how long the genome is by that. */
static void report(const char *folder) {
    unsigned long histogram[HISTOGRAM] = {0}, all = 0;
    for (size_t at = 0; at < slot_count; at++)
        if (slots[at].count) histogram[slots[at].count < HISTOGRAM ? slots[at].count : HISTOGRAM - 1]++;
    FILE *file = open_in(folder, "histogram.txt", "wb");
    for (unsigned seen = 1; seen < HISTOGRAM; seen++)
        if (histogram[seen]) fprintf(file, "%u %lu\n", seen, histogram[seen]);
    close_file(file, "histogram.txt");

    unsigned valley = 1, hill;
    while (valley + 1 < HISTOGRAM && histogram[valley + 1] < histogram[valley]) valley++;
    hill = valley;
    for (unsigned seen = valley; seen < HISTOGRAM; seen++) {
        if (histogram[seen] > histogram[hill]) hill = seen;
        all += seen * histogram[seen];
    }
    printf("%lu k-mers are seen once: nearly all of them are errors\n", histogram[1]);
    printf("each base was read about %u times; the genome has about %lu bases\n", hill, all / hill);
}

int main(int argc, char **argv) {
    int merges = argc == 5 && strcmp(argv[1], "--merge") == 0;
    unsigned k = argc == 4 || merges ? (unsigned)strtoul(argv[argc - 3], NULL, 10) : 0;
    if (k < 1 || k > MOST_BASES) {
        fprintf(stderr, "usage: kmers [--merge] K READS OUTPUT, with a K of 1 to %d\n", MOST_BASES);
        return 2;
    }
    char **paths;
    size_t files = list_files(argv[argc - 2], merges ? "/kmers.txt" : "", &paths);
    for (size_t at = merges ? 0 : part(); at < files; at += merges ? 1 : parts()) {
        if (!merges) printf("counting %s\n", file_name(paths[at]));
        (merges ? merge_file : count_file)(paths[at], k);
    }
    printf("%zu different k-mers\n", used);
    write_kmers(argv[argc - 1], k);
    if (merges) report(argv[argc - 1]);
    return 0;
}
