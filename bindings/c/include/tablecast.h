// tablecast.h: read the tables of Tablecast from C and C++.
//
// A publisher keeps a table in shared memory. A *reader* looks up rows there, without a copy of the
// table. A *subscriber* keeps a local copy at one version, and reports what changed between two
// versions. Both follow the table when it grows and when another publisher takes it over.
//
// Rows and keys are bytes. A row has its fields at the offsets of a C struct with the same members
// in the same order, so a program may declare that struct. A key has the fields of the key in the
// key's order, without gaps. Integers and floats have the byte order of the machine.
//
// Functions that return `int` return a negative `tablecast_error` if they fail, and
// tablecast_error_message() then returns the text. NULL arguments and wrong sizes are errors.
//
// Generated from src/ by cbindgen. Do not edit: TABLECAST_BLESS=1 cargo test -p tablecast-c header

#ifndef TABLECAST_H
#define TABLECAST_H


#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The number of this binary interface. The functions that open a table pass it on, and a library
// with another one refuses it.
#define TABLECAST_ABI_VERSION 1

// Kinds of fields.
typedef enum {
    // 1 byte, 0 for false.
    TABLECAST_KIND_BOOL = 1,
    TABLECAST_KIND_U8 = 2,
    TABLECAST_KIND_U16 = 3,
    TABLECAST_KIND_U32 = 4,
    TABLECAST_KIND_U64 = 5,
    TABLECAST_KIND_I8 = 6,
    TABLECAST_KIND_I16 = 7,
    TABLECAST_KIND_I32 = 8,
    TABLECAST_KIND_I64 = 9,
    // `float`.
    TABLECAST_KIND_F32 = 10,
    // `double`.
    TABLECAST_KIND_F64 = 11,
    // UTF-8, padded with zeros to the size of the field. A text that fills the field has no zero
    // at its end: print it with `%.*s`.
    TABLECAST_KIND_TEXT = 12,
    // 4 bytes in network byte order, as `struct in_addr`.
    TABLECAST_KIND_IPV4 = 13,
    // 16 bytes in network byte order, as `struct in6_addr`.
    TABLECAST_KIND_IPV6 = 14,
    // 18 bytes: 4 or 6, the length of the prefix, and the address in network byte order. An IPv4
    // address is in the first 4 of the 16 bytes, and the others are 0.
    TABLECAST_KIND_IPNET = 15,
    // 6 bytes.
    TABLECAST_KIND_MAC = 16,
    // `int64_t`, nanoseconds since the start of 1970 in UTC.
    TABLECAST_KIND_TIMESTAMP = 17,
    // A kind that this header does not know.
    TABLECAST_KIND_OTHER = 1000,
} tablecast_kind;

// Operations on a row.
typedef enum {
    // The key is new: `old_row` is NULL.
    TABLECAST_CREATED = 1,
    // The row of the key has changed.
    TABLECAST_UPDATED = 2,
    // The key was deleted: `new_row` is NULL.
    TABLECAST_DELETED = 3,
} tablecast_operation;

// Results of functions that fail. More can be added, so treat every negative number as an error.
typedef enum {
    // An argument is NULL or out of range, or a text is not UTF-8.
    TABLECAST_ERROR_INVALID_ARGUMENT = -1,
    // The program was compiled with the header of another, incompatible library.
    TABLECAST_ERROR_ABI_MISMATCH = -2,
    // The handle was opened before a fork, in the parent. Open the table again in the child.
    TABLECAST_ERROR_FORKED = -3,
    // Another thread, or a callback, uses the handle, and this call needs it alone.
    TABLECAST_ERROR_BUSY = -4,
    // A bug of the library.
    TABLECAST_ERROR_INTERNAL = -5,
    // A key or row has another size than the schema says.
    TABLECAST_ERROR_WRONG_LENGTH = -6,
    // The name of a table is not valid.
    TABLECAST_ERROR_INVALID_NAME = -7,
    // The fields or the key that the program expects are not valid.
    TABLECAST_ERROR_INVALID_SCHEMA = -8,
    // A key in text form is not valid.
    TABLECAST_ERROR_INVALID_VALUE = -9,
    // A text is longer than its field.
    TABLECAST_ERROR_TEXT_TOO_LONG = -10,
    // There is no such table.
    TABLECAST_ERROR_NOT_FOUND = -11,
    // The table has other fields than the program expects, or than it had when it was opened.
    TABLECAST_ERROR_SCHEMA_MISMATCH = -12,
    // The table was published by a version of Tablecast with another layout.
    TABLECAST_ERROR_LAYOUT_MISMATCH = -13,
    // The table is damaged.
    TABLECAST_ERROR_CORRUPT = -14,
    // The table belongs to a user who is neither the user of this process nor root.
    TABLECAST_ERROR_WRONG_OWNER = -15,
    // The permissions of the table do not allow this process to read it.
    TABLECAST_ERROR_PERMISSION_DENIED = -16,
    // A limit of the system was reached: memory or open files.
    TABLECAST_ERROR_LIMIT = -17,
    // Rows changed faster than they could be read. Try again.
    TABLECAST_ERROR_OUTRUN = -18,
    // Any other error of the system.
    TABLECAST_ERROR_SYSTEM = -19,
} tablecast_error;

// States of a publisher.
typedef enum {
    // The publisher is alive.
    TABLECAST_PUBLISHER_ALIVE = 1,
    // The publisher died without closing the table, which keeps its last commit.
    TABLECAST_PUBLISHER_GONE = 2,
    // The publisher closed the table.
    TABLECAST_PUBLISHER_CLOSED = 3,
    // A state that this header does not know.
    TABLECAST_PUBLISHER_OTHER = 1000,
} tablecast_publisher_state;

// Looks up rows in shared memory, as of the last commit.
//
// Any number of threads may use a reader for lookups (the functions that take a pointer to const),
// also while another thread waits. Only one thread at a time may refresh or wait; for another one
// this is TABLECAST_ERROR_BUSY. Closing must be the last call. In a forked child only closing is
// allowed, and every other call is TABLECAST_ERROR_FORKED.
typedef struct tablecast_reader tablecast_reader;

// The fields of a table, and its key. It belongs to the handle that returned it, and is valid until
// that is closed. It never changes, so all threads may use it.
typedef struct tablecast_schema tablecast_schema;

// All rows of a table as of one version, in memory of the library. Any number of threads may read
// it while none fills or closes it. It stays valid when its reader is closed, and in a child.
typedef struct tablecast_snapshot tablecast_snapshot;

// A copy of a table at one version, which follows the publisher.
//
// Any number of threads may read the copy at the same time. Refreshing and waiting need the
// subscriber alone: while another call uses it, they are TABLECAST_ERROR_BUSY, and so is reading
// during a wait. Pointers to rows and changes are valid until the next refresh or wait that is not
// TABLECAST_ERROR_BUSY, so a thread that keeps pointers must be the one that refreshes. Closing
// must be the last call. In a forked child only closing is allowed, and every other call is
// TABLECAST_ERROR_FORKED.
typedef struct tablecast_subscriber tablecast_subscriber;

// One field of a row.
typedef struct {
    // Name in UTF-8. It is valid as long as the schema.
    const char *name;
    // Kind of its values.
    tablecast_kind kind;
    // Offset in a row, in bytes.
    size_t offset;
    // Size in bytes.
    size_t size;
    // Index among the fields of the key, or -1 for a field that is not in the key.
    int key_index;
} tablecast_field;

// A function of the program that receives one row, which is valid until it returns. A result other
// than 0 ends the iteration. It must return normally: no longjmp, and no exception.
typedef int (*tablecast_row_callback)(void *context, const void *row);

// One key that changed between two versions. Rows are aligned to 8 bytes.
typedef struct {
    tablecast_operation operation;
    const void *old_row;
    const void *new_row;
} tablecast_change;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Returns the text about the last call of this thread that failed, or an empty text if none did.
// It is valid until the next call that fails in this thread.
const char *tablecast_error_message(void);

// Returns the number of fields. Returns 0 for NULL.
size_t tablecast_schema_field_count(const tablecast_schema *schema);

// Returns the size of a row, in bytes. Returns 0 for NULL.
size_t tablecast_schema_row_size(const tablecast_schema *schema);

// Returns the size of a key, in bytes. Returns 0 for NULL.
size_t tablecast_schema_key_size(const tablecast_schema *schema);

// Describes the field with an index from 0 on. Returns 0.
int tablecast_schema_field(const tablecast_schema *schema, size_t index, tablecast_field *field);

// Describes the field with a name. Returns 1, or 0 if there is no such field.
int tablecast_schema_find_field(const tablecast_schema *schema,
                                const char *name,
                                tablecast_field *field);

// Writes the key that a text describes: the fields of the key in the key's order, joined by commas,
// quoted as in CSV if they contain commas or quotes (`7`, or `eth0,10.0.0.1`). Returns 0.
int tablecast_schema_parse_key(const tablecast_schema *schema,
                               const char *text,
                               void *key,
                               size_t key_size);

// Writes the key of a row. Returns 0.
int tablecast_schema_key_of_row(const tablecast_schema *schema,
                                const void *row,
                                size_t row_size,
                                void *key,
                                size_t key_size);

// Returns the number of rows. Returns 0 for NULL.
size_t tablecast_snapshot_count(const tablecast_snapshot *snapshot);

// Returns the rows: a block of memory that is valid until the snapshot is filled again or closed,
// and aligned to 64 bytes. Returns NULL for NULL.
const void *tablecast_snapshot_rows(const tablecast_snapshot *snapshot);

// Returns the distance from one row to the next: the size of a row, rounded up to a multiple of 8
// bytes. Returns 0 for NULL, and before the snapshot is filled.
size_t tablecast_snapshot_stride(const tablecast_snapshot *snapshot);

// Returns the version of the rows. Returns 0 for NULL.
uint64_t tablecast_snapshot_version(const tablecast_snapshot *snapshot);

// Frees a snapshot and sets `*snapshot` to NULL. Does nothing if either is NULL.
void tablecast_snapshot_close(tablecast_snapshot **snapshot);

// Opens a reader. Call tablecast_reader_open() or tablecast_reader_open_fields() instead, which
// pass on the number of the header.
int tablecast_reader_open_abi(uint32_t abi_version,
                              const char *name,
                              const char *fields,
                              const char *key,
                              tablecast_reader **reader);

// Closes a reader and sets `*reader` to NULL, so that later calls are errors. Does nothing if
// either is NULL. No other call may use the reader at the same time.
void tablecast_reader_close(tablecast_reader **reader);

// Returns the schema of all rows and keys of a reader. Returns NULL for NULL. Any thread may call
// it.
const tablecast_schema *tablecast_reader_schema(const tablecast_reader *reader);

// Stores the number of the last commit. Returns 0. Any thread may call it.
int tablecast_reader_version(const tablecast_reader *reader, uint64_t *version);

// Stores the number of rows as of the last commit. Returns 0. Any thread may call it.
int tablecast_reader_count(const tablecast_reader *reader, size_t *count);

// Returns the state of the publisher, a `tablecast_publisher_state`, as of the last refresh or
// wait, or of opening. Any thread may call it.
int tablecast_reader_publisher_state(const tablecast_reader *reader);

// Copies the row of a key to `row`. Returns 1, or 0 if the key has no row; the contents of `row`
// are then unspecified. The sizes must be those of the schema. A row whose size is a multiple of 8
// is read fastest, into memory that is aligned to 8. Any thread may call it.
int tablecast_reader_get(const tablecast_reader *reader,
                         const void *key,
                         size_t key_size,
                         void *row,
                         size_t row_size);

// Copies the row of a key in text form (tablecast_schema_parse_key()) to `row`, as
// tablecast_reader_get() does. Any thread may call it.
int tablecast_reader_get_text(const tablecast_reader *reader,
                              const char *key,
                              void *row,
                              size_t row_size);

// Looks up `count` keys as of one version, which is stored in `*version` unless that is NULL. This
// is several times faster than single lookups. The keys follow each other in `keys`; the row of
// key `i` is stored in `rows` at `i * row_size` and `found[i]` is set to true, or to false if the
// key has no row. Returns the number of rows found, at most INT_MAX. Any thread may call it.
int tablecast_reader_get_many(const tablecast_reader *reader,
                              const void *keys,
                              size_t key_size,
                              size_t count,
                              void *rows,
                              size_t row_size,
                              bool *found,
                              uint64_t *version);

// Calls `callback` with each row as of one version, in no particular order, until it returns
// another number than 0. The version is stored in `*version` unless that is NULL. Returns 0. After
// an error the callback may have received some of the rows. Rows are aligned to 8 bytes. Any
// thread may call it.
int tablecast_reader_for_each(const tablecast_reader *reader,
                              tablecast_row_callback callback,
                              void *context,
                              uint64_t *version);

// Copies all rows as of one version to `*snapshot`. If that is NULL, creates it; otherwise its
// memory is used again. Returns 0. After an error the snapshot is empty. Any thread may call it,
// each with its own snapshot.
int tablecast_reader_snapshot(const tablecast_reader *reader, tablecast_snapshot **snapshot);

// Looks for news since the last refresh or wait, or since opening, without blocking. News are
// commits, and another state of the publisher. Returns 1 if there are any, otherwise 0. One thread
// at a time.
int tablecast_reader_refresh(tablecast_reader *reader);

// Sleeps until there are news, for at most `timeout_ms` milliseconds; a negative number has no
// end. Returns 1 if there are news, or 0 after the timeout or tablecast_reader_interrupt(). Signals
// do not end it. One thread at a time.
int tablecast_reader_wait(tablecast_reader *reader, int64_t timeout_ms);

// Ends the wait of a reader, or the next one if none is running. Any thread and any signal handler
// may call it. Returns 0.
int tablecast_reader_interrupt(const tablecast_reader *reader);

// Returns a descriptor for poll() and similar, which is readable until tablecast_reader_refresh()
// finds no news. It belongs to the reader: do not read from it or close it. One thread at a time.
int tablecast_reader_fd(tablecast_reader *reader);

// Opens a subscriber. Call tablecast_subscriber_open() or tablecast_subscriber_open_fields()
// instead, which pass on the number of the header.
int tablecast_subscriber_open_abi(uint32_t abi_version,
                                  const char *name,
                                  const char *fields,
                                  const char *key,
                                  tablecast_subscriber **subscriber);

// Closes a subscriber and sets `*subscriber` to NULL, so that later calls are errors. Does nothing
// if either is NULL. No other call may use the subscriber at the same time.
void tablecast_subscriber_close(tablecast_subscriber **subscriber);

// Returns the schema of all rows and keys of a subscriber. Returns NULL for NULL. Any thread may
// call it.
const tablecast_schema *tablecast_subscriber_schema(const tablecast_subscriber *subscriber);

// Stores the version of the copy. Returns 0. Any thread may call it, unless one waits.
int tablecast_subscriber_version(const tablecast_subscriber *subscriber, uint64_t *version);

// Stores the number of rows of the copy. Returns 0. Any thread may call it, unless one waits.
int tablecast_subscriber_count(const tablecast_subscriber *subscriber, size_t *count);

// Returns the state of the publisher, a `tablecast_publisher_state`, as of the last refresh or
// wait, or of opening. Any thread may call it.
int tablecast_subscriber_publisher_state(const tablecast_subscriber *subscriber);

// Stores a pointer to the row of a key in `*row`, and returns 1. If the key has no row, stores
// NULL and returns 0. The row is aligned to 8 bytes. Any thread may call it, unless one waits.
int tablecast_subscriber_get(const tablecast_subscriber *subscriber,
                             const void *key,
                             size_t key_size,
                             const void **row);

// Stores a pointer to the row of a key in text form (tablecast_schema_parse_key()), as
// tablecast_subscriber_get() does. Any thread may call it, unless one waits.
int tablecast_subscriber_get_text(const tablecast_subscriber *subscriber,
                                  const char *key,
                                  const void **row);

// Calls `callback` with each row of the copy, in no particular order, until it returns another
// number than 0. Rows are aligned to 8 bytes. Returns 0. Any thread may call it, unless one waits.
int tablecast_subscriber_for_each(const tablecast_subscriber *subscriber,
                                  tablecast_row_callback callback,
                                  void *context);

// Stores the changes of the last refresh or wait, and their number. After opening, these are all
// rows as created. Each key occurs once, whatever the number of commits. Returns 0. Any thread may
// call it, unless one waits.
int tablecast_subscriber_changes(const tablecast_subscriber *subscriber,
                                 const tablecast_change **changes,
                                 size_t *count);

// Updates the copy to the last commit, without blocking. Returns 1 if there are news (changed rows,
// or another state of the publisher), otherwise 0. After an error the copy is complete, at its
// former version. Needs the subscriber alone.
int tablecast_subscriber_refresh(tablecast_subscriber *subscriber);

// Refreshes, and sleeps until there are news, for at most `timeout_ms` milliseconds; a negative
// number has no end. Returns 1 if there are news, or 0 after the timeout or
// tablecast_subscriber_interrupt(). Signals do not end it. Needs the subscriber alone.
int tablecast_subscriber_wait(tablecast_subscriber *subscriber, int64_t timeout_ms);

// Ends the wait of a subscriber, or the next one if none is running. Any thread and any signal
// handler may call it. Returns 0.
int tablecast_subscriber_interrupt(const tablecast_subscriber *subscriber);

// Returns a descriptor for poll() and similar, which is readable until
// tablecast_subscriber_refresh() finds no news. It belongs to the subscriber: do not read from it
// or close it. Any thread may call it, unless one waits.
int tablecast_subscriber_fd(tablecast_subscriber *subscriber);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

// The functions that open a table are compiled into the program, so that the library can check the
// number of the header.
#ifdef __cplusplus
extern "C" {
#endif

// Opens a reader of table `name` with the fields that the table has. They stay fixed: if a later
// publisher gives the table other fields, calls fail with TABLECAST_ERROR_SCHEMA_MISMATCH.
// Sets `*reader`, to NULL after an error.
static inline int tablecast_reader_open(const char *name, tablecast_reader **reader) {
    return tablecast_reader_open_abi(TABLECAST_ABI_VERSION, name, NULL, NULL, reader);
}

// Opens a reader of table `name`, which must have these fields, written as `id:u64,name:text(32)`,
// and this key, written as `id` or `name,id`. Without a key (NULL) the first field is the key.
// Texts may be narrower or wider in the table: rows are converted, and a text that does not fit is
// TABLECAST_ERROR_TEXT_TOO_LONG. Any other difference is TABLECAST_ERROR_SCHEMA_MISMATCH.
static inline int tablecast_reader_open_fields(const char *name, const char *fields,
                                               const char *key, tablecast_reader **reader) {
    return tablecast_reader_open_abi(TABLECAST_ABI_VERSION, name, fields, key, reader);
}

// Opens a subscriber of table `name`, as tablecast_reader_open() does. Its first changes are all
// rows.
static inline int tablecast_subscriber_open(const char *name, tablecast_subscriber **subscriber) {
    return tablecast_subscriber_open_abi(TABLECAST_ABI_VERSION, name, NULL, NULL, subscriber);
}

// Opens a subscriber of table `name`, as tablecast_reader_open_fields() does.
static inline int tablecast_subscriber_open_fields(const char *name, const char *fields,
                                                   const char *key,
                                                   tablecast_subscriber **subscriber) {
    return tablecast_subscriber_open_abi(TABLECAST_ABI_VERSION, name, fields, key, subscriber);
}

#ifdef __cplusplus
}  // extern "C"
#endif

#endif  // TABLECAST_H
