/* How much a portfolio may lose within some days: by chance, many thousand times over.
 *
 * Usage: risk SCENARIOS PORTFOLIO OUTPUT     so many futures; which ones says its part of the work
 *        risk --merge PARTS OUTPUT           adds up the losses.txt of each folder in PARTS, and reports
 *
 * PORTFOLIO is lines of `kind amount price volatility beta strike days`: shares, and calls and puts on them (a negative
 * amount was sold). All prices move with one market, each by its beta, and for themselves; options are worth what Black
 * and Scholes say they are, today and then. Their value is no straight line, which is why chance is asked, not a formula.
 *
 * What a part leaves is a histogram of losses: those can be added, while "the loss that one in a hundred futures exceeds"
 * cannot. Parts draw other numbers, so how far their own answers lie apart tells how sure the answer of all is.
 */
#include "../parts.h"

enum { MOST_POSITIONS = 1000, BINS = 4000, HORIZON_DAYS = 10, YEAR_DAYS = 252 };

struct position {
    char kind; /* s, c, p: share, call, put */
    double amount, price, volatility, beta, strike, days;
};

static struct position positions[MOST_POSITIONS];
static size_t position_count;

/* Losses of -100 % to 100 % of what the portfolio is worth, in bins of 0.05 %. */
static unsigned long losses[BINS];

static double normal_below(double x) {
    return 0.5 * erfc(-x / sqrt(2));
}

/* What one piece of it is worth at a price of the share, with so many days left. Interest is zero. */
static double value_of(const struct position *position, double price, double days) {
    if (position->kind == 's') return price;
    int call = position->kind == 'c';
    if (days <= 0) return fmax(call ? price - position->strike : position->strike - price, 0);
    double spread = position->volatility * sqrt(days / YEAR_DAYS);
    double upper = log(price / position->strike) / spread + spread / 2;
    double value = price * normal_below(upper) - position->strike * normal_below(upper - spread);
    return call ? value : value - price + position->strike;
}

static void read_portfolio(const char *path) {
    FILE *file = open_file(path, "rb");
    char line[512], kind[16];
    while (fgets(line, sizeof line, file) != NULL) {
        struct position read = {0};
        if (*line == '#' || *line == '\n') continue;
        int fields = sscanf(line, "%15s %lf %lf %lf %lf %lf %lf", kind, &read.amount, &read.price, &read.volatility,
                            &read.beta, &read.strike, &read.days);
        read.kind = *kind;
        int option = strcmp(kind, "call") == 0 || strcmp(kind, "put") == 0;
        if (!(option ? fields == 7 && read.strike > 0 : fields >= 5 && strcmp(kind, "share") == 0) || read.price <= 0 ||
            read.volatility <= 0 || position_count == MOST_POSITIONS)
            fail("not a position of a portfolio:", line);
        positions[position_count++] = read;
    }
    close_file(file, path);
}

/* The change of a share's price: with the market by beta, the rest of its volatility is its own. */
static double price_then(const struct position *position, double market, double own) {
    static const double market_volatility = 0.18;
    double years = (double)HORIZON_DAYS / YEAR_DAYS, with = position->beta * market_volatility;
    double alone = sqrt(fmax(position->volatility * position->volatility - with * with, 0));
    double volatility = hypot(with, alone);
    return position->price * exp((with * market + alone * own) * sqrt(years) - volatility * volatility * years / 2);
}

static void simulate(unsigned long scenarios, const char *output) {
    struct chance chance = chance_of(number_of("SEED", 1), part());
    double worth = 0;
    for (size_t at = 0; at < position_count; at++)
        worth += positions[at].amount * value_of(&positions[at], positions[at].price, positions[at].days);
    if (!(worth > 0)) fail("nothing is at risk in", "a portfolio that is worth nothing");
    for (unsigned long scenario = 0; scenario < scenarios; scenario++) {
        double market = normal(&chance), then = 0;
        for (size_t at = 0; at < position_count; at++) {
            const struct position *position = &positions[at];
            double price = price_then(position, market, normal(&chance));
            then += position->amount * value_of(position, price, position->days - HORIZON_DAYS);
        }
        double bin = floor((1 + (worth - then) / worth) * BINS / 2);
        losses[bin < 0 ? 0 : bin >= BINS ? BINS - 1 : (size_t)bin]++;
    }
    FILE *file = open_in(output, "losses.txt", "wb");
    for (size_t bin = 0; bin < BINS; bin++)
        if (losses[bin]) fprintf(file, "%zu %lu\n", bin, losses[bin]);
    close_file(file, "losses.txt");
    printf("part %zu of %zu: %lu futures of a portfolio that is worth %.0f\n", part(), parts(), scenarios, worth);
}

/* Reads a histogram into `into` and, beside, adds it to `losses`. */
static void add_losses(const char *path, unsigned long into[BINS]) {
    FILE *file = open_file(path, "rb");
    size_t bin;
    unsigned long count;
    int fields;
    while ((fields = fscanf(file, "%zu %lu", &bin, &count)) == 2 && bin < BINS) into[bin] += count, losses[bin] += count;
    if (fields != EOF) fail("other lines than `bin count` in", path);
    close_file(file, path);
}

/* The loss, as a share of all, that `share` of the futures stay below; and what the others lose on average. */
static double at_risk(const unsigned long histogram[BINS], double share, double *beyond) {
    unsigned long all = 0, below = 0, tail = 0;
    for (size_t bin = 0; bin < BINS; bin++) all += histogram[bin];
    size_t at = 0;
    while (at < BINS - 1 && (double)(below + histogram[at]) < share * (double)all) below += histogram[at++];
    double sum = 0;
    for (size_t bin = at; bin < BINS; bin++)
        tail += histogram[bin], sum += (double)histogram[bin] * ((bin + 0.5) * 2 / BINS - 1);
    *beyond = tail ? sum / (double)tail : 0;
    return (at + 0.5) * 2 / BINS - 1;
}

static void merge(const char *folder, const char *output) {
    static unsigned long one[BINS];
    char **paths;
    size_t count = list_files(folder, "/losses.txt", &paths);
    double sum = 0, squares = 0, beyond;
    if (count < 2) fail("fewer than two parts in", folder);
    for (size_t at = 0; at < count; at++) {
        memset(one, 0, sizeof one);
        add_losses(paths[at], one);
        double loss = at_risk(one, 0.99, &beyond);
        sum += loss, squares += loss * loss;
    }
    unsigned long futures = 0;
    for (size_t bin = 0; bin < BINS; bin++) futures += losses[bin];
    double mean = sum / (double)count, variance = fmax(squares - sum * mean, 0) / (double)(count - 1);
    FILE *files[2] = {stdout, open_in(output, "risk.txt", "wb")};
    for (int each = 0; each < 2; each++) {
        fprintf(files[each], "%lu futures of %d days, in %zu parts\n", futures, HORIZON_DAYS, count);
        fprintf(files[each], "one in 20 loses more than %.2f %%\n", 100 * at_risk(losses, 0.95, &beyond));
        fprintf(files[each], "one in 100 loses more than %.2f %% (+- %.2f)", 100 * at_risk(losses, 0.99, &beyond),
                100 * sqrt(variance / (double)count));
        fprintf(files[each], ", on average %.2f %%\n", 100 * beyond);
    }
    close_file(files[1], "risk.txt");
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "--merge") == 0) return merge(argv[2], argv[3]), 0;
    unsigned long scenarios = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
    if (scenarios == 0) {
        fprintf(stderr, "usage: risk SCENARIOS PORTFOLIO OUTPUT, or risk --merge PARTS OUTPUT\n");
        return 2;
    }
    read_portfolio(argv[2]);
    simulate(scenarios, argv[3]);
    return 0;
}
