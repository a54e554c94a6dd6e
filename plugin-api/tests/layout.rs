//! The Rust mirror and the C header agree: every size, offset and constant, by the C compiler.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

use ticket_plugin_api::abi;

/// Lines "name number" from Rust's view, and the C statements that print the same from C's. The
/// patterns list every field of the Rust types: one that is forgotten here doesn't compile.
macro_rules! both_views {
    ($rust:ident, $c:ident; $($c_type:ident = $type:ident { $($field:ident),* })*) => {$(
        #[allow(dead_code)]
        fn $c_type(value: abi::$type) {
            let abi::$type { $($field: _),* } = value;
        }
        writeln!($rust, "{} {}", stringify!($c_type), size_of::<abi::$type>()).unwrap();
        writeln!($c, "P({0}, sizeof({0}));", stringify!($c_type)).unwrap();
        $(
            let name = format!("{}.{}", stringify!($c_type), stringify!($field));
            writeln!($rust, "{name} {}", offset_of!(abi::$type, $field)).unwrap();
            writeln!($c, "P({name}, offsetof({}, {}));", stringify!($c_type), stringify!($field)).unwrap();
        )*
    )*};
}

macro_rules! constants {
    ($rust:ident, $c:ident; $($c_name:ident = $value:expr;)*) => {$(
        writeln!($rust, "{} {}", stringify!($c_name), $value).unwrap();
        writeln!($c, "P({0}, {0});", stringify!($c_name)).unwrap();
    )*};
}

#[test]
fn the_rust_mirror_has_the_headers_layout_and_constants() {
    let (mut rust, mut c) = (String::new(), String::new());
    both_views! { rust, c;
        ticket_str = Str { ptr, len }
        ticket_header = Header { name, value }
        ticket_http_request = HttpRequest { size, header_count, method, url, headers, body, flags, reserved }
        ticket_http_response = HttpResponse { size, header_count, status, reserved, headers, body }
        ticket_call = Call { size, reserved, host, reply, log, remaining_ms, http, render }
        ticket_plugin = Plugin { size, abi_version, manifest, open, close, check, create, find,
            find_many, update, state, receive, changes }
    }
    constants! { rust, c;
        TICKET_PLUGIN_ABI_VERSION = abi::ABI_VERSION;
        TICKET_OK = abi::status::OK;
        TICKET_SETTINGS_ERROR = abi::status::SETTINGS_ERROR;
        TICKET_CLIENT_ERROR = abi::status::CLIENT_ERROR;
        TICKET_CREATION_ERROR = abi::status::CREATION_ERROR;
        TICKET_PLUGIN_ERROR = abi::status::PLUGIN_ERROR;
        TICKET_NOT_FOUND = abi::status::NOT_FOUND;
        TICKET_UNSUPPORTED = abi::status::UNSUPPORTED;
        TICKET_HTTP_OK = abi::http_status::OK;
        TICKET_HTTP_NOT_SENT = abi::http_status::NOT_SENT;
        TICKET_HTTP_UNKNOWN = abi::http_status::UNKNOWN;
        TICKET_HTTP_DENIED = abi::http_status::DENIED;
        TICKET_HTTP_DRY_RUN = abi::http_status::DRY_RUN;
        TICKET_HTTP_CHANGES_NOTHING = abi::http_flag::CHANGES_NOTHING;
        TICKET_LOG_ERROR = abi::log_level::ERROR;
        TICKET_LOG_WARN = abi::log_level::WARN;
        TICKET_LOG_INFO = abi::log_level::INFO;
        TICKET_LOG_DEBUG = abi::log_level::DEBUG;
        TICKET_LOG_TRACE = abi::log_level::TRACE;
    }
    assert_eq!(c_compilers_view(&c), rust);
}

fn c_compilers_view(statements: &str) -> String {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = dir.join("layout.c");
    let program = dir.join(format!("layout{}", std::env::consts::EXE_SUFFIX));
    let code = format!(
        "#include <stdio.h>\n#include \"ticket_plugin.h\"\n\
         #define P(name, value) printf(\"%s %llu\\n\", #name, (unsigned long long)(value))\n\
         int main(void) {{\n{statements}return 0;\n}}\n"
    );
    std::fs::write(&source, code).unwrap();
    let cc = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let compiled = Command::new(&cc)
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .args([&header, &source])
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|e| panic!("this test needs a C compiler, and {cc} can't be run: {e}"));
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let output = Command::new(&program).output().unwrap();
    String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n")
}
