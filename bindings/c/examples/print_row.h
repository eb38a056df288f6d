// Prints a row of any table, for the other examples.
#ifndef PRINT_ROW_H
#define PRINT_ROW_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <tablecast.h>

// Prints a field of a row.
static inline void print_field(FILE *out, const tablecast_field *field, const void *row) {
    const unsigned char *bytes = (const unsigned char *)row + field->offset;
    uint64_t number = 0;
    float single;
    double wide;
    if (field->size <= sizeof number) memcpy(&number, bytes, field->size);
    switch (field->kind) {
        case TABLECAST_KIND_BOOL:
        case TABLECAST_KIND_U8:
        case TABLECAST_KIND_U16:
        case TABLECAST_KIND_U32:
        case TABLECAST_KIND_U64:
            fprintf(out, "%" PRIu64, number);
            break;
        case TABLECAST_KIND_I8:
            fprintf(out, "%" PRId8, (int8_t)number);
            break;
        case TABLECAST_KIND_I16:
            fprintf(out, "%" PRId16, (int16_t)number);
            break;
        case TABLECAST_KIND_I32:
            fprintf(out, "%" PRId32, (int32_t)number);
            break;
        case TABLECAST_KIND_I64:
        case TABLECAST_KIND_TIMESTAMP:
            fprintf(out, "%" PRId64, (int64_t)number);
            break;
        case TABLECAST_KIND_F32:
            memcpy(&single, bytes, sizeof single);
            fprintf(out, "%g", (double)single);
            break;
        case TABLECAST_KIND_F64:
            memcpy(&wide, bytes, sizeof wide);
            fprintf(out, "%g", wide);
            break;
        case TABLECAST_KIND_TEXT:
            fprintf(out, "%.*s", (int)field->size, (const char *)bytes);
            break;
        default:
            for (size_t i = 0; i < field->size; i++) fprintf(out, "%02x", bytes[i]);
    }
}

// Prints the fields of a row on one line.
static inline void print_row(FILE *out, const tablecast_schema *schema, const void *row) {
    tablecast_field field;
    for (size_t i = 0; tablecast_schema_field(schema, i, &field) == 0; i++) {
        fprintf(out, "%s%s=", i == 0 ? "" : " ", field.name);
        print_field(out, &field, row);
    }
    fputc('\n', out);
}

#endif
