// A row with a field of every kind, as a struct.
#include "check.h"

struct row {
    char text[32];
    uint64_t id;
    int64_t negative;
    int32_t small;
    float single;
    double number;
    int64_t time;
    uint8_t net[18];
    uint8_t v6[16];
    uint8_t v4[4];
    uint8_t mac[6];
    bool flag;
    int8_t byte;
};

static const tablecast_kind KINDS[] = {
    TABLECAST_KIND_TEXT,  TABLECAST_KIND_U64,       TABLECAST_KIND_I64,  TABLECAST_KIND_I32,
    TABLECAST_KIND_F32,   TABLECAST_KIND_F64,       TABLECAST_KIND_TIMESTAMP,
    TABLECAST_KIND_IPNET, TABLECAST_KIND_IPV6,      TABLECAST_KIND_IPV4, TABLECAST_KIND_MAC,
    TABLECAST_KIND_BOOL,  TABLECAST_KIND_I8,
};

int main(int count, char **arguments) {
    CHECK(count == 2);
    tablecast_reader *reader = NULL;
    CHECK(tablecast_reader_open(arguments[1], &reader) == 0);
    const tablecast_schema *schema = tablecast_reader_schema(reader);
    CHECK(tablecast_schema_row_size(schema) == sizeof(struct row));
    CHECK(tablecast_schema_field_count(schema) == sizeof KINDS / sizeof *KINDS);
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        tablecast_field field;
        CHECK(tablecast_schema_field(schema, i, &field) == 0);
        CHECK(field.kind == KINDS[i] && field.key_index == (i < 2 ? (int)i : -1));
    }

    struct row row;
    const char *text = "\"a, \"\"b\"\"\",7";
    CHECK(tablecast_reader_get_text(reader, text, &row, sizeof row) == 1);
    CHECK(strcmp(row.text, "a, \"b\"") == 0 && row.id == 7 && row.negative == INT64_MIN);
    CHECK(row.small == -5 && row.single == 0.25f && row.number != row.number && row.flag);
    CHECK(row.time == 1795253782123456789 && row.byte == -128);
    const uint8_t net[18] = {4, 16, 10, 1}, v6[16] = {0xfe, 0x80, [15] = 1};
    const uint8_t v4[4] = {192, 0, 2, 7}, mac[6] = {2, 0, 0, 0, 0, 1};
    CHECK(memcmp(row.net, net, sizeof net) == 0 && memcmp(row.v6, v6, sizeof v6) == 0);
    CHECK(memcmp(row.v4, v4, sizeof v4) == 0 && memcmp(row.mac, mac, sizeof mac) == 0);

    // The key has its fields without gaps, and texts are padded with zeros.
    unsigned char key[40] = {0}, made[40];
    const uint64_t id = 2;
    memcpy(key, "plain", 5);
    memcpy(key + 32, &id, sizeof id);
    CHECK(tablecast_reader_get(reader, key, sizeof key, &row, sizeof row) == 1);
    CHECK(row.id == 2 && row.number == -0.5);
    CHECK(tablecast_schema_key_of_row(schema, &row, sizeof row, made, sizeof made) == 0);
    CHECK(memcmp(key, made, sizeof key) == 0);
    CHECK(tablecast_schema_parse_key(schema, "plain,2", made, sizeof made) == 0);
    CHECK(memcmp(key, made, sizeof key) == 0);
    tablecast_reader_close(&reader);
    return 0;
}
