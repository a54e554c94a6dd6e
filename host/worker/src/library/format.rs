//! Looks what kind of file a library is, before the loader is asked to load it. A loader's own error can
//! mislead: some say "No such file or directory" of a library for another architecture.
//!
//! Documents: System V gABI, chapter 4 (the ELF header); Microsoft, "PE Format" (the COFF file header).

use std::env::consts::ARCH;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Why a file can't be a library that this machine loads.
#[derive(Debug, thiserror::Error)]
pub enum NotLoadable {
    #[error("can't be read")]
    Read(#[source] io::Error),
    #[error("is not a library")]
    NotALibrary,
    #[error("is a truncated library, which ends after byte {0}")]
    Truncated(u64),
    #[error("is for another architecture: {found}, and this host is {ARCH}")]
    Architecture { found: String },
}

/// The architectures that hosts are built for: Rust's name, ELF's `e_machine`, and COFF's `Machine`.
const MACHINES: [(&str, u16, u16); 5] = [
    ("x86_64", 62, 0x8664),
    ("aarch64", 183, 0xaa64),
    ("x86", 3, 0x014c),
    ("arm", 40, 0x01c4),
    ("riscv64", 243, 0x5064),
];

/// Refuses a file that can't be a library of this platform and architecture. On macOS, whose format isn't known
/// here, every file is left to the loader.
pub(super) fn check(path: &Path) -> Result<(), NotLoadable> {
    let mut file = File::open(path).map_err(NotLoadable::Read)?;
    let length = file.metadata().map_err(NotLoadable::Read)?.len();
    let machine = if cfg!(all(unix, not(target_vendor = "apple"))) {
        elf_machine(&mut file, length)?
    } else if cfg!(windows) {
        pe_machine(&mut file, length)?
    } else {
        return Ok(());
    };
    let known = MACHINES.iter().find(|(name, ..)| *name == ARCH);
    let name_of = |(name, elf, pe): &(&str, u16, u16)| {
        (machine == if cfg!(windows) { *pe } else { *elf }).then(|| (*name).to_owned())
    };
    match known {
        Some(own) if name_of(own).is_none() => Err(NotLoadable::Architecture {
            found: MACHINES.iter().find_map(name_of).unwrap_or(format!("machine {machine}")),
        }),
        _ => Ok(()),
    }
}

/// The architecture's number in an ELF file.
fn elf_machine(file: &mut File, length: u64) -> Result<u16, NotLoadable> {
    let header: [u8; 64] = read(file, 0, length)?;
    if header[..4] != *b"\x7fELF" {
        return Err(NotLoadable::NotALibrary);
    }
    let big_endian = header[5] == 2;
    let number = |at: usize, size: usize| {
        let bytes = &header[at..at + size];
        let digits = |n: u64, b: &u8| n << 8 | u64::from(*b);
        if big_endian { bytes.iter().fold(0, digits) } else { bytes.iter().rev().fold(0, digits) }
    };
    // The section headers stand at the end of a file. If a 64-bit file ends before them, it was cut short.
    if header[4] == 2 {
        let sections = number(40, 8).saturating_add(number(58, 2) * number(60, 2));
        if sections > length {
            return Err(NotLoadable::Truncated(length));
        }
    }
    Ok(number(18, 2) as u16)
}

/// The architecture's number in a PE file.
fn pe_machine(file: &mut File, length: u64) -> Result<u16, NotLoadable> {
    let dos: [u8; 64] = read(file, 0, length)?;
    if dos[..2] != *b"MZ" {
        return Err(NotLoadable::NotALibrary);
    }
    let start = u32::from_le_bytes([dos[60], dos[61], dos[62], dos[63]]);
    let pe: [u8; 6] = read(file, u64::from(start), length)?;
    if pe[..4] != *b"PE\0\0" {
        return Err(NotLoadable::NotALibrary);
    }
    Ok(u16::from_le_bytes([pe[4], pe[5]]))
}

/// Reads `N` bytes from the position `at` of a file of this length.
fn read<const N: usize>(file: &mut File, at: u64, length: u64) -> Result<[u8; N], NotLoadable> {
    let mut bytes = [0; N];
    let done = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes));
    match done {
        Ok(()) => Ok(bytes),
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof && at == 0 => {
            Err(NotLoadable::NotALibrary)
        }
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
            Err(NotLoadable::Truncated(length))
        }
        Err(cause) => Err(NotLoadable::Read(cause)),
    }
}
