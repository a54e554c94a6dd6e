//! How the tables were laid out when a crate was compiled, by abi_stable, and what differs between two crates.

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{
    AbiInstability, AbiInstabilityError, check_layout_compatibility,
};
use abi_stable::type_layout::TLFieldOrFunction;

use super::Plugin;

/// abi_stable's description of a type.
pub type Layout = abi_stable::type_layout::TypeLayout;

/// The layout of [`Plugin`] as this crate compiled it; a Rust plugin's [`LAYOUT_SYMBOL`](super::LAYOUT_SYMBOL) gives its own.
pub fn own() -> &'static Layout {
    <Plugin as StableAbi>::LAYOUT
}

/// What differs between two layouts of [`Plugin`], one sentence each, beside what rule R3 allows.
pub fn differences(here: &'static Layout, there: &'static Layout) -> Vec<String> {
    match check_layout_compatibility(here, there) {
        Ok(()) => Vec::new(),
        Err(found) => found.errors.iter().filter_map(difference).collect(),
    }
}

/// The tables that may grow at their end (rule R3), each of which says its size.
const GROWING: [&str; 4] = ["Plugin", "Call", "HttpRequest", "HttpResponse"];

/// Says in words what differs in one field. None if rule R3 allows it: another version of plugin-api, and a
/// table with more fields or fewer.
fn difference(error: &AbiInstabilityError) -> Option<String> {
    let (field, type_name) = match error.stack_trace.last() {
        None => ("the table", "Plugin"),
        Some(innermost) => match innermost.expected {
            TLFieldOrFunction::Field(field) => (field.name(), field.layout().name()),
            TLFieldOrFunction::Function(_) => ("a function", ""),
        },
    };
    let grows = GROWING.contains(&type_name);
    let what = error.errs.iter().find_map(|what| match what {
        AbiInstability::PackageVersion(_) => None,
        AbiInstability::Size(_) | AbiInstability::FieldCountMismatch(_) if grows => None,
        AbiInstability::Name(v) => {
            Some(format!("is {} here and {} there", v.expected.name(), v.found.name()))
        }
        AbiInstability::UnexpectedField(v) => {
            Some(format!("has {} here and {} there", v.expected.name(), v.found.name()))
        }
        other => Some(format!("{other:?}").chars().take(200).collect()),
    })?;
    Some(format!("{field} {what}"))
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;

    use super::super::{Header, HttpResponse, Str};
    use super::*;

    /// These are the tables of a Rust plugin that was compiled on the day of the freeze.
    #[repr(C)]
    #[derive(StableAbi)]
    struct HttpRequest {
        size: u32,
        header_count: u32,
        method: Str,
        url: Str,
        headers: *const Header,
        body: Str,
    }

    #[repr(C)]
    #[derive(StableAbi)]
    struct Call {
        size: u32,
        reserved: u32,
        host: *mut c_void,
        reply: Option<unsafe extern "C" fn(call: *const Call, json: Str)>,
        log: Option<unsafe extern "C" fn(call: *const Call, level: u32, message: Str)>,
        remaining_ms: Option<unsafe extern "C" fn(call: *const Call) -> u64>,
        http: Option<
            unsafe extern "C" fn(
                call: *const Call,
                request: *const HttpRequest,
                response: *mut HttpResponse,
            ) -> i32,
        >,
        render: Option<
            unsafe extern "C" fn(
                call: *const Call,
                part: Str,
                format: Str,
                extra: Str,
                out: *mut Str,
            ) -> i32,
        >,
    }

    #[repr(C)]
    #[derive(StableAbi)]
    struct Plugin {
        size: u32,
        abi_version: u32,
        manifest: Str,
        open: Option<
            unsafe extern "C" fn(
                call: *const Call,
                settings: Str,
                instance: *mut *mut c_void,
            ) -> i32,
        >,
        close: Option<unsafe extern "C" fn(instance: *mut c_void)>,
        check: Option<unsafe extern "C" fn(instance: *mut c_void, call: *const Call) -> i32>,
        create: Option<
            unsafe extern "C" fn(instance: *mut c_void, call: *const Call, request: Str) -> i32,
        >,
        find: Option<
            unsafe extern "C" fn(instance: *mut c_void, call: *const Call, request: Str) -> i32,
        >,
    }

    #[test]
    fn a_table_of_before_or_after_it_grew_has_the_layout_that_is_expected() {
        let before = <Plugin as StableAbi>::LAYOUT;
        assert_eq!(differences(own(), before), [""; 0]);
        assert_eq!(differences(before, own()), [""; 0]);
    }
}
