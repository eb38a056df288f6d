/* Reads a table of Tablecast without its library, by nothing but docs/layout.md, whose headings the comments name.
 *
 *   layout_reader TABLE schema         prints the fields and the runs of the key, one a line
 *   layout_reader TABLE get [KEY...]   prints all rows of one version, or those of keys (bytes in hexadecimal), as JSON
 *   layout_reader TABLE wait VERSION   sleeps until the table has this version; prints each version at which it slept
 *   layout_reader TABLE stream KEY...  writes snapshots and the rows of keys in binary until it is closed
 *
 * It trusts the owner of the table not to truncate it, and so has no handler for SIGBUS. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef _Atomic uint64_t Word;
__extension__ typedef unsigned __int128 Double;
/* Word numbers in the headers of region, index and registry. */
enum { LAYOUT = 1, ROW_WORDS, CAPACITY, SLOTS, SCHEMA_BYTES, REGION_ID, FINGERPRINT, ACKS, TREE, BLOCKS, JOURNAL };
enum { EPOCH = 16, STATE, REGISTRY_ID = 22, ROWS, COMMIT = 32, INDEX_GENERATION = 39, LIVE = 40, SCHEMA = 48 };
enum { INDEX_REGION = 2, GENERATION, ENTRIES, SLOT_MASK, SEED, REMOVED = 16, FIRST = 32, ID_OF_REGISTRY = 3 };
enum { LAYOUT_VERSION = 4, RUNNING = 1, CLOSED = 2, ROW_TRIES = 16384, PASSES = 256, OPEN_TRIES = 16 };
static const uint64_t MAX_VERSION = (1ULL << 62) - 3, FACTOR = 0x9e3779b97f4a7c15;

struct field { char name[65], kind[16]; unsigned long size, offset; };
struct table {
    const char *name;
    int fd;
    struct stat file;
    Word *words, *index;                       /* the region, mapped for its full capacity, and its key index or NULL */
    uint64_t mapped, reach, seen;              /* words mapped, words that the file has, last version seen */
    uint64_t W, block_words, capacity, id, tree, blocks; /* private copies of the header; offsets in words */
    struct field fields[256], runs[256];       /* the fields, and the adjacent fields of the key joined to runs */
    unsigned long field_count, run_count, row_size, key_size;
    uint64_t index_words, generation, entries, mask, seed;
};
struct snapshot { uint64_t region, version, slots, *rows; bool *live, *lost; };

static uint64_t load(Word *word) { return atomic_load_explicit(word, memory_order_relaxed); }
static void acquire(void) { atomic_thread_fence(memory_order_acquire); }
static uint64_t align(uint64_t x, uint64_t n) { return (x + n - 1) / n * n; }
/* "What to open": opens an object and reads its first words. Returns -1 if it does not exist. */
static int open_object(const char *path, int access, struct stat *file, const char *magic, void *header, size_t size) {
    int fd = open(path, access | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return -1;
    if (fd < 0 || fstat(fd, file)) err(1, "%s", path);
    if (!S_ISREG(file->st_mode) || (file->st_uid != geteuid() && file->st_uid != 0)) errx(1, "%s: not trusted", path);
    if (access == O_RDONLY && file->st_blocks * 512 < file->st_size) errx(1, "%s: holes", path);
    if (pread(fd, header, size, 0) != (ssize_t)size || memcmp(header, magic, 8)) errx(1, "%s: no %s", path, magic);
    if (((uint64_t *)header)[LAYOUT] != LAYOUT_VERSION) errx(1, "%s: another layout", path);
    return fd;
}
static Word *map(int fd, uint64_t words) {
    void *memory = mmap(NULL, words * 8, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) err(1, "mmap");
    return memory;
}

/* "The schema" */
static const char *eat(const char *p, const char *text) {
    if (strncmp(p, text, strlen(text))) errx(1, "schema: no %s at %.20s", text, p);
    return p + strlen(text);
}
static const char *eat_string(const char *p, char *out, size_t size) {
    for (p = eat(p, "\""); *p && *p != '"' && size > 1; size--, *out++ = *p++) p += *p == '\\' && p[1];
    *out = 0;
    return eat(p, "\"");
}
static const char *eat_number(const char *p, unsigned long *out) {
    char *end;
    *out = strtoul(p, &end, 10);
    if (*p < '0' || *p > '9' || *out > 65536) errx(1, "schema: no number at %.20s", p);
    return end;
}
static unsigned long size_of_kind(const char *kind) {
    static const struct { const char *name; unsigned long size; } kinds[] = {
        {"bool", 1}, {"u8", 1}, {"u16", 2}, {"u32", 4}, {"u64", 8}, {"i8", 1}, {"i16", 2}, {"i32", 4}, {"i64", 8},
        {"f32", 4}, {"f64", 8}, {"ipv4", 4}, {"ipv6", 16}, {"ipnet", 18}, {"mac", 6}, {"timestamp", 8}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kind, kinds[i].name)) return kinds[i].size;
    unsigned long size;
    if (*eat(eat_number(eat(kind, "text("), &size), ")") || size < 1 || size > 4096) errx(1, "schema: kind %s", kind);
    return size;
}
static void parse_schema(struct table *t, const char *p, const char *end) {
    p = eat(p, "{\"fields\":[");
    do {
        struct field *field = &t->fields[t->field_count++];
        p = eat_string(eat(p + (*p == ','), "{\"name\":"), field->name, sizeof field->name);
        p = eat_string(eat(p, ",\"kind\":"), field->kind, sizeof field->kind);
        p = eat(eat_number(eat(p, ",\"offset\":"), &field->offset), "}");
        field->size = size_of_kind(field->kind);
    } while (*p == ',' && t->field_count < 256);
    p = eat(p, "],\"key\":[");
    do {
        struct field named, *last = &t->runs[t->run_count - (t->run_count > 0)];
        unsigned long i = 0;
        p = eat_string(p + (*p == ','), named.name, sizeof named.name);
        while (i < t->field_count && strcmp(named.name, t->fields[i].name)) i++;
        if (i == t->field_count || *t->fields[i].kind == 'f' || t->run_count == 256) errx(1, "schema: invalid key");
        if (t->run_count > 0 && last->offset + last->size == t->fields[i].offset) last->size += t->fields[i].size;
        else t->runs[t->run_count++] = t->fields[i];
        t->key_size += t->fields[i].size;
    } while (*p == ',' && t->key_size <= 1024);
    p = eat(eat_number(eat(p, "],\"row_size\":"), &t->row_size), "}");
    bool fits = p == end && t->key_size <= 1024 && align(t->row_size, 8) / 8 == t->W;
    for (unsigned long i = 0; i < t->field_count; i++) fits &= t->fields[i].offset + t->fields[i].size <= t->row_size;
    if (!fits) errx(1, "schema: does not fit its row or the header");
}

/* "What to open", "The region", "What to check". Returns false if the table does not exist. */
static bool attach(struct table *t, const char *name) {
    char path[128], schema[65536 + 1] = {0};
    uint64_t header[SCHEMA], hash = 0xcbf29ce484222325;
    memset(t, 0, sizeof *t);
    t->name = name;
    snprintf(path, sizeof path, "/dev/shm/tablecast.table.%s", name);
    if ((t->fd = open_object(path, O_RDONLY, &t->file, "TABLCAST", header, sizeof header)) < 0) return false;
    t->W = header[ROW_WORDS], t->capacity = header[CAPACITY], t->id = header[REGION_ID];
    uint64_t length = header[SCHEMA_BYTES], slots = header[SLOTS], journal_entries = 1024, n = t->capacity;
    if (t->W < 1 || t->W > 8192 || n < 1 || n > 1ULL << 31 || slots > 65536 || length > 65536) errx(1, "too large");
    uint64_t acks = align(0x180 + length, 64), tree = align(acks + 16 * slots, 64), end = tree;
    do { n = (n + 63) / 64, end = align(end + 8 * n, 64); } while (n > 1);
    while (journal_entries < t->capacity && journal_entries < 65536) journal_entries *= 2;
    uint64_t blocks = align(end + 4 * journal_entries, 4096);
    bool fits = header[ACKS] == acks && header[TREE] == tree && header[JOURNAL] == end && header[BLOCKS] == blocks;
    t->tree = tree / 8, t->blocks = t->reach = blocks / 8, t->block_words = 128 + 128 * t->W;
    t->mapped = t->blocks + (t->capacity + 63) / 64 * t->block_words;
    if (!fits || t->mapped > 1ULL << 42 || (uint64_t)t->file.st_size < blocks) errx(1, "wrong offsets or size");
    if (pread(t->fd, schema, length, 0x180) != (ssize_t)length) errx(1, "no schema");
    for (uint64_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)schema[i]) * 0x100000001b3;
    if (hash != header[FINGERPRINT]) errx(1, "wrong fingerprint");
    parse_schema(t, schema, schema + length);
    t->words = map(t->fd, t->mapped);
    return true;
}
/* "A new region". Returns true if the name belongs to another region, which is then attached. */
static bool follow(struct table *t) {
    struct stat named;
    struct table old = *t;
    char path[128];
    snprintf(path, sizeof path, "/dev/shm/tablecast.table.%s", t->name);
    if (lstat(path, &named) || (named.st_dev == t->file.st_dev && named.st_ino == t->file.st_ino)) return false;
    if (!attach(t, old.name)) { *t = old; return false; }
    munmap(old.words, old.mapped * 8);
    if (old.index) munmap(old.index, old.index_words * 8);
    close(old.fd);
    return true;
}

/* "Reading one row", steps 1 to 3, without a particular slot. */
static uint64_t look(struct table *t, uint64_t *slots) {
    uint64_t s = load(&t->words[COMMIT]);
    acquire();
    *slots = load(&t->words[ROWS]);
    if (s < 1 || s > MAX_VERSION || s < t->seen || *slots > t->capacity) errx(1, "wrong version or number of rows");
    uint64_t size = t->blocks + (*slots + 63) / 64 * t->block_words;
    if (size > t->reach) {
        if (fstat(t->fd, &t->file) || t->file.st_blocks * 512 < t->file.st_size) errx(1, "the region has holes");
        if ((t->reach = (uint64_t)t->file.st_size / 8) < size) errx(1, "the region is too short for its rows");
    }
    return t->seen = s;
}
enum answer { OVERWRITTEN, SAME, NO_ROW, ROW };
/* Steps 4 to 8. SAME: the caller has a copy as of `since`, if `known`, and the row was not written after it. */
static enum answer read_row(struct table *t, uint64_t slot, uint64_t s, bool known, uint64_t since, uint64_t *row) {
    Word *block = t->words + t->blocks + slot / 64 * t->block_words, *tags = block + slot % 64 * 2;
    uint64_t tag[2] = {load(&tags[0]), load(&tags[1])};
    bool counts[2] = {tag[0] >> 2 <= s, tag[1] >> 2 <= s};
    if (!counts[0] && !counts[1]) return OVERWRITTEN;
    unsigned c = counts[1] && (!counts[0] || tag[1] > tag[0]);
    enum answer answer = known && tag[c] >> 2 <= since ? SAME : (tag[c] & 3) == 1 ? ROW : NO_ROW;
    Word *copy = block + 128 + (64 * c + slot % 64) * t->W;
    for (uint64_t i = 0; answer == ROW && i < t->W; i++) row[i] = load(&copy[i]);
    if (answer != ROW && counts[0] && counts[1]) return answer;
    acquire();
    return load(&tags[c]) == tag[c] ? answer : OVERWRITTEN;
}

/* "Reading all rows as of one version": updates a snapshot. Returns false if the table changes too fast. */
static bool take(struct table *t, struct snapshot *snap) {
    for (int pass = 0; pass < PASSES; pass++) {
        uint64_t slots, s = look(t, &slots), lost = 0;
        for (; snap->slots < slots; snap->slots += 64) {
            uint64_t room = snap->slots + 64;
            if (!(snap->rows = realloc(snap->rows, room * t->W * 8)) || !(snap->live = realloc(snap->live, room)) ||
                !(snap->lost = realloc(snap->lost, room))) errx(1, "out of memory");
            memset(snap->live + snap->slots, 0, 64), memset(snap->lost + snap->slots, 0, 64);
        }
        for (uint64_t slot = 0; slot < slots; slot++) {
            bool is_changed = slot % 64 || load(&t->words[t->tree + slot / 64]) > snap->version;
            if (!is_changed && !memchr(snap->lost + slot, 1, 64)) { slot += 63; continue; }
            enum answer answer = read_row(t, slot, s, !snap->lost[slot], snap->version, snap->rows + slot * t->W);
            lost += snap->lost[slot] = answer == OVERWRITTEN;
            if (answer == ROW || answer == NO_ROW) snap->live[slot] = answer == ROW;
        }
        snap->version = s;
        if (lost == 0) return true;
        acquire();
    }
    return false;
}

/* "Looking a key up". Opens no index if it was removed; a lookup searches the rows then. */
static void open_index(struct table *t, uint64_t generation) {
    if (t->index) munmap(t->index, t->index_words * 8);
    t->index = NULL;
    for (int try = 0; !t->index && try < OPEN_TRIES; try++) {
        char path[128];
        uint64_t header[FIRST];
        struct stat file;
        snprintf(path, sizeof path, "/dev/shm/tablecast.index.%016" PRIx64 ".%" PRIu64, t->id, generation);
        int fd = open_object(path, O_RDONLY, &file, "TABLINDX", header, sizeof header);
        t->generation = generation;
        generation = load(&t->words[INDEX_GENERATION]);
        acquire();
        if (fd < 0) continue;
        t->entries = header[ENTRIES], t->mask = header[SLOT_MASK], t->seed = header[SEED];
        t->index_words = FIRST + t->entries / 2 + t->entries % 2;
        bool fits = t->entries >= 2 && t->entries <= UINT32_MAX && (uint64_t)file.st_size >= t->index_words * 8;
        fits = fits && t->mask >= 3 && t->mask <= UINT32_MAX && !(t->mask & (t->mask + 1));
        if (!fits || header[INDEX_REGION] != t->id || header[GENERATION] != t->generation) errx(1, "%s: damaged", path);
        t->index = map(fd, t->index_words);
        close(fd);
        uint64_t removed = load(&t->index[REMOVED]);
        acquire();
        if (removed > load(&t->words[COMMIT])) errx(1, "%s: damaged", path);
    }
}
static uint64_t hash_of(const struct table *t, const unsigned char *key) {
    uint64_t h = t->seed;
    for (unsigned long r = 0; r < t->run_count; key += t->runs[r++].size)
        for (unsigned long i = 0; i < t->runs[r].size; i += 8) {
            uint64_t w = 0, rest = t->runs[r].size - i;
            memcpy(&w, key + i, rest < 8 ? rest : 8);
            Double product = (Double)(h ^ w) * FACTOR;
            h = (uint64_t)product ^ (uint64_t)(product >> 64);
        }
    return h;
}
static bool has_key(const struct table *t, const uint64_t *row, const unsigned char *key) {
    for (unsigned long r = 0; r < t->run_count; key += t->runs[r++].size)
        if (memcmp((const char *)row + t->runs[r].offset, key, t->runs[r].size)) return false;
    return true;
}
static enum answer search(struct table *t, uint64_t s, uint64_t slots, const unsigned char *key, uint64_t *row) {
    uint64_t h = t->index ? hash_of(t, key) : 0, count = t->index ? t->entries : slots;
    for (uint64_t i = 0, at = (uint64_t)((Double)h * count >> 64); i < count; i++, at = at + 1 == count ? 0 : at + 1) {
        uint64_t entry = t->index ? load(&t->index[FIRST + at / 2]) >> at % 2 * 32 & UINT32_MAX : 1;
        uint64_t place = t->index ? entry & t->mask : at + 1;
        if (entry == 0) break;
        if (t->index && (((entry ^ h) & UINT32_MAX & ~t->mask) || place == t->mask)) continue;
        if (place == 0 || place > slots) continue;
        enum answer answer = read_row(t, place - 1, s, false, 0, row);
        if (answer == OVERWRITTEN || (answer == ROW && has_key(t, row, key))) return answer;
    }
    acquire();
    return !t->index || load(&t->index[REMOVED]) <= s ? NO_ROW : OVERWRITTEN;
}
/* Copies the row of a key as of the last version to `row`, which has room for a row of any table. */
static bool lookup(struct table *t, const unsigned char *key, uint64_t *row) {
    for (int try = 0; try < ROW_TRIES; try++) {
        uint64_t slots, s = look(t, &slots), generation = load(&t->words[INDEX_GENERATION]);
        acquire();
        if (generation != t->generation) { open_index(t, generation); continue; }
        enum answer answer = search(t, s, slots, key, row);
        if (answer == ROW) return true;
        if (answer == NO_ROW && (load(&t->words[STATE]) == RUNNING || !follow(t))) return false;
        acquire();
    }
    errx(1, "the table changes too fast");
}

/* "Waiting for a commit": sleeps while the version is s. A wake-up that does not come in a minute is an error. */
static void sleep_at(struct table *t, uint64_t s) {
    char path[128];
    struct stat file;
    struct timespec limit = {60, 0};
    uint64_t header[4], one = 1, id = load(&t->words[REGISTRY_ID]);
    snprintf(path, sizeof path, "/dev/shm/tablecast.subs.%016" PRIx64, id);
    int fd = open_object(path, O_RDWR, &file, "TABLSUBS", header, sizeof header);
    if (fd < 0 || header[ID_OF_REGISTRY] != id) errx(1, "%s: no registry", path);
    if (pwrite(fd, &one, 8, 0x90 + (off_t)(s % 2 * 8)) != 8) err(1, "%s", path);
    close(fd);
    atomic_thread_fence(memory_order_seq_cst);
    long woken = syscall(SYS_futex, &t->words[COMMIT], FUTEX_WAIT, (uint32_t)s, &limit, NULL, 0);
    if (woken && errno != EAGAIN && errno != EINTR) err(1, "no wake-up");
}

static void print_text(const char *text, size_t size) {
    putchar('"');
    for (size_t i = 0; i < size && text[i]; i++)
        printf((unsigned char)text[i] < ' ' ? "\\u%04x" : strchr("\"\\", text[i]) ? "\\%c" : "%c", text[i]);
    putchar('"');
}
static void print_value(const struct field *field, const unsigned char *p) {
    bool is_net = !strcmp(field->kind, "ipnet"), is_six = is_net ? *p == 6 : field->size == 16;
    unsigned size = field->size < 8 ? (unsigned)field->size : 8, longest = is_six ? 128 : 32;
    uint64_t raw = 0;
    char text[64];
    memcpy(&raw, p, size);
    int64_t number = (int64_t)(raw << (64 - 8 * size)) >> (64 - 8 * size);
    if (!strncmp(field->kind, "text", 4)) {
        print_text((const char *)p, field->size);
    } else if (!strncmp(field->kind, "ip", 2)) {
        printf("\"%s", inet_ntop(is_six ? AF_INET6 : AF_INET, is_net ? p + 2 : p, text, sizeof text));
        if (is_net) printf("/%u", p[1] < longest ? p[1] : longest);
        putchar('"');
    } else if (*field->kind == 'm') {
        printf("\"%02x:%02x:%02x:%02x:%02x:%02x\"", p[0], p[1], p[2], p[3], p[4], p[5]);
    } else if (*field->kind == 't') {
        time_t seconds = number / 1000000000 - (number % 1000000000 < 0);
        strftime(text, sizeof text, "%FT%T", gmtime(&seconds));
        printf("\"%s.%09dZ\"", text, (int)(number - seconds * 1000000000));
    } else if (*field->kind == 'f') {
        float narrow;
        double f;
        memcpy(&narrow, p, sizeof narrow), memcpy(&f, &raw, sizeof f);
        if (field->size == 4) f = (double)narrow;
        printf(f - f == 0 ? "%.17g" : f > 0 ? "\"Infinity\"" : f < 0 ? "\"-Infinity\"" : "\"NaN\"", f);
    } else if (*field->kind == 'b') {
        printf(raw ? "true" : "false");
    } else {
        printf(*field->kind == 'u' ? "%" PRIu64 : "%" PRId64, number);
    }
}
static void print_row(const struct table *t, const uint64_t *row) {
    for (unsigned long i = 0; i < t->field_count; i++) {
        putchar(i ? ',' : '{'), print_text(t->fields[i].name, sizeof t->fields[i].name), putchar(':');
        print_value(&t->fields[i], (const unsigned char *)row + t->fields[i].offset);
    }
    puts("}");
}

/* Looks up a key that is given as hexadecimal digits. */
static bool lookup_text(struct table *t, const char *digits, uint64_t *row) {
    static unsigned char key[1024];
    if (strlen(digits) != 2 * t->key_size) errx(1, "a key has %lu bytes", t->key_size);
    for (unsigned long i = 0; i < t->key_size; i++) sscanf(digits + 2 * i, "%2hhx", &key[i]);
    return lookup(t, key, row);
}
/* Writes 5 words of a row and a digest of all. */
static void put_row(const struct table *t, const uint64_t *row) {
    uint64_t digest = 0;
    for (uint64_t i = 0; i < t->W; i++) digest = (digest ^ row[i]) * FACTOR;
    fwrite(row, 8, 5, stdout), fwrite(&digest, 8, 1, stdout);
}
/* Writes without end: version, epoch, region, number of rows, the rows; for each key 1 or 0, version, a row. */
static void stream(struct table *t, char **keys, uint64_t *row) {
    struct snapshot snap = {0};
    for (bool is_closed = false; !is_closed;) {
        is_closed = load(&t->words[STATE]) == CLOSED;
        follow(t);
        if (snap.region != t->id) snap.region = t->id, snap.version = snap.slots = 0;
        if (!take(t, &snap)) errx(1, "the table changes too fast");
        uint64_t head[4] = {snap.version, load(&t->words[EPOCH]), t->id, 0}, live = load(&t->words[LIVE + head[0] % 2]);
        acquire();
        for (uint64_t slot = 0; slot < snap.slots; slot++) head[3] += snap.live[slot];
        if (load(&t->words[COMMIT]) == head[0] && live != head[3]) errx(1, "wrong number of rows in the header");
        fwrite(head, 8, 4, stdout);
        for (uint64_t slot = 0; slot < snap.slots; slot++)
            if (snap.live[slot]) put_row(t, snap.rows + slot * t->W);
        for (char **key = keys; *key; key++) {
            uint64_t found[2] = {lookup_text(t, *key, row), t->seen};
            fwrite(found, 8, 2, stdout), put_row(t, row);
        }
    }
}

int main(int count, char **arguments) {
    static struct table t;
    static uint64_t row[8192];
    struct snapshot snap = {0};
    if (count < 3 || !attach(&t, arguments[1])) errx(1, "no such table; usage: TABLE schema|get|wait|stream");
    const char *mode = arguments[2];
    for (unsigned long i = 0; i < t.field_count && !strcmp(mode, "schema"); i++)
        printf("%s %s %lu\n", t.fields[i].name, t.fields[i].kind, t.fields[i].offset);
    if (!strcmp(mode, "get") && count == 3 && !take(&t, &snap)) errx(1, "the table changes too fast");
    for (uint64_t slot = 0; slot < snap.slots; slot++)
        if (snap.live[slot]) print_row(&t, snap.rows + slot * t.W);
    for (int i = 3; i < count && !strcmp(mode, "get"); i++)
        if (lookup_text(&t, arguments[i], row)) print_row(&t, row); else puts("null");
    if (!strcmp(mode, "stream")) stream(&t, arguments + 3, row);
    for (uint64_t slots, s; !strcmp(mode, "wait") && (s = look(&t, &slots)) < strtoull(arguments[3], NULL, 10);) {
        printf("%" PRIu64 "\n", s), fflush(stdout);
        sleep_at(&t, s);
    }
    return 0;
}
