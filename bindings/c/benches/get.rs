//! Compares `tablecast_reader_get`, called from C through the shared library, with `Reader::get` in
//! Rust: `cargo bench -p tablecast-c`.
//!
//! The loops look up the same keys in the same table and process, and take turns. Each sample is
//! the mean of a batch, because a lookup is shorter than reading a clock. The table is at rest.
//!
//! `UntypedReader::get_into` is measured too: it is what the C function calls, and knows the row
//! only at run time.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use bytemuck::{Pod, Zeroable};
use common::{Publisher, Reader, Row, Schema, Text, UntypedReader};

/// Numbers of rows: one table fits into a near cache, the other does not.
const ROWS: [u64; 2] = [1_000, 100_000];
/// Distance of consecutive keys. It has no divisor in common with the numbers of rows, so all keys
/// occur.
const STRIDE: u64 = 61_803;
/// Lookups of a sample.
const BATCH: u64 = 200;
/// Samples of each language.
const SAMPLES: usize = 20_000;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, Row)]
struct Wide {
    #[row(key)]
    key: u64,
    version: u64,
    rest: Text<48>,
}

type Open = unsafe extern "C" fn(*const c_char) -> c_int;
type Get = unsafe extern "C" fn(u64, u64, u64, u64) -> i64;
type Close = unsafe extern "C" fn();

/// The functions of `get.c`, in a library that was compiled for this run.
struct Loop {
    open: Open,
    get: Get,
    close: Close,
}

impl Loop {
    /// Builds the library for C and the loop, and loads both.
    fn load(folder: &Path) -> Self {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        run(Command::new(env!("CARGO"))
            .args(["build", "--release", "-p", "tablecast-c"])
            .current_dir(package));
        // This program is in the folder `deps` of the folder that cargo builds in.
        let program = std::env::current_exe().unwrap();
        let library = program.ancestors().nth(2).unwrap().join("libtablecast.so");
        // The loader looks for the soname.
        std::os::unix::fs::symlink(&library, folder.join("libtablecast.so.0")).unwrap();
        let loop_library = folder.join("get.so");
        run(Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-std=gnu11", "-I"])
            .arg(package.join("include"))
            .arg(package.join("benches/get.c"))
            .arg(&library)
            .arg(format!("-Wl,-rpath,{}", folder.display()))
            .arg("-o")
            .arg(&loop_library));
        let path = CString::new(loop_library.to_str().unwrap()).unwrap();
        // SAFETY: the library was just built from `get.c`, and has no constructors.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "cannot load {path:?}");
        // SAFETY: the library is never unloaded, and its functions have these types.
        unsafe {
            let symbol = |name: &std::ffi::CStr| {
                let found = libc::dlsym(handle, name.as_ptr());
                assert!(!found.is_null(), "no function {name:?}");
                found
            };
            Self {
                open: std::mem::transmute::<*mut c_void, Open>(symbol(c"bench_open")),
                get: std::mem::transmute::<*mut c_void, Get>(symbol(c"bench_get")),
                close: std::mem::transmute::<*mut c_void, Close>(symbol(c"bench_close")),
            }
        }
    }
}

fn run(command: &mut Command) {
    let status = command.status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?} failed");
}

/// Times of lookups, in ns.
struct Times(Vec<f64>);

impl Times {
    /// Returns the value below which this part of the sorted times is.
    fn quantile(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part) as usize]
    }
}

/// Looks up a batch of keys in Rust. Returns the time in ns.
#[inline(never)]
fn get_in_rust(reader: &Reader<Wide>, first: u64, rows: u64) -> i64 {
    let begun = Instant::now();
    let (mut key, mut sum) = (first, 0);
    for _ in 0..BATCH {
        key = (key + STRIDE) % rows;
        let row = reader.get(black_box(&key)).expect("nobody writes").expect("every key exists");
        sum += black_box(row).version;
    }
    assert_eq!(sum, BATCH);
    begun.elapsed().as_nanos() as i64
}

/// Does what [`get_in_rust`] does, without knowing the row at compile time.
#[inline(never)]
fn get_untyped(reader: &UntypedReader, first: u64, rows: u64) -> i64 {
    let begun = Instant::now();
    let (mut key, mut sum, mut row) = (first, 0, [0; 8]);
    for _ in 0..BATCH {
        key = (key + STRIDE) % rows;
        let found = reader.get_into(black_box(&key.to_ne_bytes()), black_box(&mut row));
        assert!(found.expect("nobody writes"), "every key exists");
        sum += black_box(row)[1];
    }
    assert_eq!(sum, BATCH);
    begun.elapsed().as_nanos() as i64
}

/// Returns the times in Rust, in Rust without a row type, and in C.
fn measure(in_c: &Loop, rows: u64) -> [Times; 3] {
    let name = format!("bench-c-{rows}-{}", std::process::id());
    let builder = Publisher::<Wide>::builder(&name).capacity(rows as usize);
    let mut publisher = builder.open().expect("a new table");
    let mut tx = publisher.begin();
    for key in 0..rows {
        tx.insert(&Wide { key, version: 1, rest: Text::zeroed() }).expect("room");
    }
    tx.commit().expect("room");
    let reader = Reader::<Wide>::open(&name).expect("it is published");
    let schema = Schema::parse("key:u64,version:u64,rest:text(48)", None).expect("a schema");
    let untyped = UntypedReader::builder(&name).schema(schema).open().expect("it is published");
    let table = CString::new(name).expect("no NUL");
    // SAFETY: the functions of `get.c` are called by one thread, and `open` first.
    assert_eq!(unsafe { (in_c.open)(table.as_ptr()) }, 0);
    let mut times = [const { Vec::new() }; 3];
    // The first batches open the key index, touch its pages, and are dropped.
    let warm_up = 2 * rows.div_ceil(BATCH) as usize;
    for sample in 0..warm_up + SAMPLES {
        // The loops take turns at being the first, and look up other keys, so that none finds the
        // rows of another in a cache.
        for turn in 0..3 {
            let which = (sample + turn) % 3;
            let first = (3 * sample + turn) as u64 * BATCH * STRIDE % rows;
            let time = match which {
                0 => get_in_rust(&reader, first, rows),
                1 => get_untyped(&untyped, first, rows),
                // SAFETY: as above.
                _ => unsafe { (in_c.get)(first, STRIDE, rows, BATCH) },
            };
            assert!(time > 0, "a lookup in C failed");
            if sample >= warm_up {
                times[which].push(time as f64 / BATCH as f64);
            }
        }
    }
    // SAFETY: as above.
    unsafe { (in_c.close)() };
    publisher.close().expect("its own table");
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        Times(times)
    })
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let in_c = Loop::load(folder.path());
    println!("one lookup of a row of 64 bytes, in ns (median and p99 of {SAMPLES} batches)");
    for rows in ROWS {
        let [rust, untyped, c] = measure(&in_c, rows);
        for (name, times) in [
            ("Reader::get", &rust),
            ("UntypedReader::get_into", &untyped),
            ("tablecast_reader_get", &c),
        ] {
            let (median, high) = (times.quantile(0.5), times.quantile(0.99));
            println!("{rows:>7} rows  {name:<23} {median:>7.1} {high:>7.1}");
        }
        for (name, other) in [("Reader::get", rust), ("UntypedReader::get_into", untyped)] {
            let ratio = c.quantile(0.5) / other.quantile(0.5);
            println!("{rows:>7} rows  C : {name:<23} {ratio:>7.2}");
        }
    }
}
