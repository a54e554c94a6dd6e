//! Exports the layout of a table in which one field has another type: what a plugin exports that
//! was built against an altered plugin-api.
#![allow(unsafe_code)]

use abi_stable::StableAbi;
use ticket_plugin_api::abi::{Str, layout::Layout};

#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct Plugin {
    pub size: u32,
    pub abi_version: u64,
    pub manifest: Str,
}

#[unsafe(no_mangle)]
extern "C" fn ticket_plugin_entry(_: u32) -> *const Plugin {
    unreachable!("a host that compares layouts never gets here")
}

#[unsafe(no_mangle)]
extern "C" fn ticket_plugin_layout() -> &'static Layout {
    <Plugin as StableAbi>::LAYOUT
}
