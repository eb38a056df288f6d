// tablecast.hpp: tablecast.h for C++17. Handles close themselves, errors are exceptions, and rows
// have the type of a struct. Link with libtablecast.
//
//     struct Price { std::uint64_t instrument; double bid; };
//     tablecast::Reader<Price> prices("prices", "instrument:u64,bid:f64");
//     if (auto price = prices.get(std::uint64_t{7})) std::cout << price->bid;
//
// The rules for threads are those of tablecast.h: const functions of a reader may be called by any
// number of threads, and the others by one at a time.
#ifndef TABLECAST_HPP
#define TABLECAST_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "tablecast.h"

namespace tablecast {

// A failed call, with the text of the library.
class Error : public std::runtime_error {
  public:
    explicit Error(int code) : std::runtime_error(tablecast_error_message()), code_(code) {}
    // Returns the number, a `tablecast_error`.
    int code() const noexcept { return code_; }

  private:
    int code_;
};

namespace detail {

inline int check(int result) {
    if (result < 0) throw Error(result);
    return result;
}

template <class Handle, void (*close)(Handle **)>
struct Close {
    void operator()(Handle *handle) const noexcept { close(&handle); }
};

template <class Row>
void check_row(const tablecast_schema *schema) {
    static_assert(std::is_trivially_copyable_v<Row>, "a row is plain bytes");
    static_assert(alignof(Row) <= 8, "rows are aligned to 8 bytes");
    if (tablecast_schema_row_size(schema) != sizeof(Row))
        throw std::invalid_argument("the struct for a row has another size than the fields");
}

template <class Key>
void check_key() {
    static_assert(std::has_unique_object_representations_v<Key> && !std::is_pointer_v<Key>,
                  "a key is plain bytes without padding");
}

inline std::int64_t milliseconds(std::optional<std::chrono::milliseconds> timeout) {
    return timeout ? timeout->count() : -1;
}

// Calls a function with each row, and carries its exception through the library.
template <class Row, class Visit>
struct Visitor {
    Visit &visit;
    std::exception_ptr failure;

    static int call(void *context, const void *row) noexcept {
        auto &self = *static_cast<Visitor *>(context);
        try {
            self.visit(*static_cast<const Row *>(row));
            return 0;
        } catch (...) {
            self.failure = std::current_exception();
            return 1;
        }
    }

    void rethrow() const {
        if (failure) std::rethrow_exception(failure);
    }
};

}  // namespace detail

// All rows of a table as of one version.
template <class Row>
class Snapshot {
  public:
    std::size_t size() const noexcept { return tablecast_snapshot_count(handle_.get()); }
    std::uint64_t version() const noexcept { return tablecast_snapshot_version(handle_.get()); }
    const Row &operator[](std::size_t index) const noexcept {
        const auto *rows = static_cast<const char *>(tablecast_snapshot_rows(handle_.get()));
        return *reinterpret_cast<const Row *>(
            rows + index * tablecast_snapshot_stride(handle_.get()));
    }

  private:
    template <class>
    friend class Reader;
    std::unique_ptr<tablecast_snapshot,
                    detail::Close<tablecast_snapshot, tablecast_snapshot_close>>
        handle_;
};

// Looks up rows in shared memory, as of the last commit.
template <class Row>
class Reader {
  public:
    // Opens table `name`, which must have these fields and this key (by default the first field).
    explicit Reader(const char *name, const char *fields, const char *key = nullptr) {
        tablecast_reader *handle = nullptr;
        detail::check(tablecast_reader_open_fields(name, fields, key, &handle));
        handle_.reset(handle);
        detail::check_row<Row>(schema());
    }

    const tablecast_schema *schema() const noexcept {
        return tablecast_reader_schema(handle_.get());
    }

    std::uint64_t version() const {
        std::uint64_t version = 0;
        detail::check(tablecast_reader_version(handle_.get(), &version));
        return version;
    }

    std::size_t size() const {
        std::size_t count = 0;
        detail::check(tablecast_reader_count(handle_.get(), &count));
        return count;
    }

    tablecast_publisher_state publisher_state() const {
        return static_cast<tablecast_publisher_state>(
            detail::check(tablecast_reader_publisher_state(handle_.get())));
    }

    // Returns the row of a key: the fields of the key in the key's order, without gaps.
    template <class Key>
    std::optional<Row> get(const Key &key) const {
        detail::check_key<Key>();
        Row row;
        const int found =
            tablecast_reader_get(handle_.get(), &key, sizeof key, &row, sizeof row);
        return detail::check(found) == 1 ? std::optional<Row>(row) : std::nullopt;
    }

    // Returns the row of a key in text form.
    std::optional<Row> get_text(const char *key) const {
        Row row;
        const int found = tablecast_reader_get_text(handle_.get(), key, &row, sizeof row);
        return detail::check(found) == 1 ? std::optional<Row>(row) : std::nullopt;
    }

    // Returns the rows of many keys as of one version.
    template <class Key>
    std::vector<std::optional<Row>> get_many(const std::vector<Key> &keys) const {
        detail::check_key<Key>();
        std::vector<Row> rows(keys.size());
        const std::unique_ptr<bool[]> found(new bool[keys.size()]);
        detail::check(tablecast_reader_get_many(handle_.get(), keys.data(), sizeof(Key),
                                                keys.size(), rows.data(), sizeof(Row), found.get(),
                                                nullptr));
        std::vector<std::optional<Row>> result(keys.size());
        for (std::size_t i = 0; i < keys.size(); i++)
            if (found[i]) result[i] = rows[i];
        return result;
    }

    // Calls a function with each row as of one version, which is returned. Its exceptions end the
    // iteration, and pass through.
    template <class Visit>
    std::uint64_t for_each(Visit visit) const {
        detail::Visitor<Row, Visit> visitor{visit, nullptr};
        std::uint64_t version = 0;
        const int result = tablecast_reader_for_each(
            handle_.get(), &detail::Visitor<Row, Visit>::call, &visitor, &version);
        visitor.rethrow();
        detail::check(result);
        return version;
    }

    // Copies all rows as of one version, and uses the memory of the snapshot again.
    void snapshot(Snapshot<Row> &snapshot) const {
        tablecast_snapshot *handle = snapshot.handle_.release();
        const int result = tablecast_reader_snapshot(handle_.get(), &handle);
        snapshot.handle_.reset(handle);
        detail::check(result);
    }

    // Returns true if there is news since the last refresh or wait.
    bool refresh() { return detail::check(tablecast_reader_refresh(handle_.get())) == 1; }

    // Sleeps until there is news, at most until a timeout. Returns true if there is.
    bool wait(std::optional<std::chrono::milliseconds> timeout = std::nullopt) {
        const int result = tablecast_reader_wait(handle_.get(), detail::milliseconds(timeout));
        return detail::check(result) == 1;
    }

    // Ends the wait of another thread.
    void interrupt() const { detail::check(tablecast_reader_interrupt(handle_.get())); }

    int fd() { return detail::check(tablecast_reader_fd(handle_.get())); }

  private:
    std::unique_ptr<tablecast_reader, detail::Close<tablecast_reader, tablecast_reader_close>>
        handle_;
};

// A key that changed. `old_row` is null if it was created, and `new_row` if it was deleted.
template <class Row>
struct Change {
    tablecast_operation operation;
    const Row *old_row;
    const Row *new_row;
};

// A copy of a table at one version. Pointers to rows are valid until the next refresh or wait.
template <class Row>
class Subscriber {
  public:
    // Opens table `name`, which must have these fields and this key (by default the first field).
    explicit Subscriber(const char *name, const char *fields, const char *key = nullptr) {
        tablecast_subscriber *handle = nullptr;
        detail::check(tablecast_subscriber_open_fields(name, fields, key, &handle));
        handle_.reset(handle);
        detail::check_row<Row>(schema());
    }

    const tablecast_schema *schema() const noexcept {
        return tablecast_subscriber_schema(handle_.get());
    }

    std::uint64_t version() const {
        std::uint64_t version = 0;
        detail::check(tablecast_subscriber_version(handle_.get(), &version));
        return version;
    }

    std::size_t size() const {
        std::size_t count = 0;
        detail::check(tablecast_subscriber_count(handle_.get(), &count));
        return count;
    }

    tablecast_publisher_state publisher_state() const {
        return static_cast<tablecast_publisher_state>(
            detail::check(tablecast_subscriber_publisher_state(handle_.get())));
    }

    // Returns the row of a key, or null.
    template <class Key>
    const Row *get(const Key &key) const {
        detail::check_key<Key>();
        const void *row = nullptr;
        detail::check(tablecast_subscriber_get(handle_.get(), &key, sizeof key, &row));
        return static_cast<const Row *>(row);
    }

    // Returns the row of a key in text form, or null.
    const Row *get_text(const char *key) const {
        const void *row = nullptr;
        detail::check(tablecast_subscriber_get_text(handle_.get(), key, &row));
        return static_cast<const Row *>(row);
    }

    // Calls a function with each row. Its exceptions end the iteration, and pass through.
    template <class Visit>
    void for_each(Visit visit) const {
        detail::Visitor<Row, Visit> visitor{visit, nullptr};
        const int result = tablecast_subscriber_for_each(
            handle_.get(), &detail::Visitor<Row, Visit>::call, &visitor);
        visitor.rethrow();
        detail::check(result);
    }

    // Returns the changes of the last refresh or wait. After opening, these are all rows.
    std::vector<Change<Row>> changes() const {
        const tablecast_change *changes = nullptr;
        std::size_t count = 0;
        detail::check(tablecast_subscriber_changes(handle_.get(), &changes, &count));
        std::vector<Change<Row>> result;
        result.reserve(count);
        for (std::size_t i = 0; i < count; i++)
            result.push_back({changes[i].operation, static_cast<const Row *>(changes[i].old_row),
                              static_cast<const Row *>(changes[i].new_row)});
        return result;
    }

    // Updates the copy. Returns true if there is news.
    bool refresh() { return detail::check(tablecast_subscriber_refresh(handle_.get())) == 1; }

    // Updates the copy, and sleeps until there is news, at most until a timeout. Returns true if
    // there is.
    bool wait(std::optional<std::chrono::milliseconds> timeout = std::nullopt) {
        const int result = tablecast_subscriber_wait(handle_.get(), detail::milliseconds(timeout));
        return detail::check(result) == 1;
    }

    // Ends the wait of another thread.
    void interrupt() const { detail::check(tablecast_subscriber_interrupt(handle_.get())); }

    int fd() { return detail::check(tablecast_subscriber_fd(handle_.get())); }

  private:
    std::unique_ptr<tablecast_subscriber,
                    detail::Close<tablecast_subscriber, tablecast_subscriber_close>>
        handle_;
};

}  // namespace tablecast

#endif  // TABLECAST_HPP
