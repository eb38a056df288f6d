//! Sets the soname of the shared library. It changes with every incompatible release.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libtablecast.so.0");
}
