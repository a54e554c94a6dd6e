//! The layout names the package that it was compiled in: here it says what an altered plugin-api would.

fn main() {
    println!("cargo::rustc-env=CARGO_PKG_NAME=ticket-plugin-api");
    println!("cargo::rerun-if-changed=build.rs");
}
