# Everything that must pass before a change lands, from an empty target folder.
ci:
    bash .ci/run

# The checks of a quick edit.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Tests of a tier, or some of them: just test model, or just test library wake::
test binary name="":
    cargo test -p tests --test {{binary}} -- {{name}}

# The loom models; with a name, only that one.
models name="":
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p common --lib --release models -- {{name}} --nocapture

# Build and test the bridge to other hosts; just bridge NAME tests some of it.
bridge name="":
    cargo test --locked --manifest-path bridge/Cargo.toml --workspace -- {{name}}

# The picture in the README.
screenshot:
    cargo run -p tests --bin screenshot > docs/top.svg

fuzz seconds="10" *targets:
    bash tests/fuzz/run {{seconds}} {{targets}}

bench *arguments:
    cargo run --release --locked --manifest-path tests/bench/Cargo.toml -- {{arguments}}

soak seconds="60":
    cargo run --release -p tests --bin soak -- --seconds {{seconds}}

deny:
    cargo deny check bans licenses sources
