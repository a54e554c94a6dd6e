//! Says on standard error where a worker crashed: in which library, and how far into its file, for addr2line(1).
//!
//! Invariant: nothing of the memory or the registers is told beside that offset, since the secret may be there. What
//! runs after a crash takes no lock and no memory, since the crash may have been within the allocator.
#![allow(unsafe_code)]

use std::path::Path;

/// Loads a library by `load`, and from then on tells of crashes; also of those while it is loaded. Signals are caught
/// only on Linux on the processors whose program counter is known here. A plugin may install handlers of its own.
pub(crate) fn telling<T>(library: &Path, load: impl FnOnce() -> T) -> T {
    #[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        linux::remember_modules(library, false);
        linux::install();
        let loaded = load();
        linux::remember_modules(library, true);
        loaded
    }
    #[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
    {
        let _ = library;
        load()
    }
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod linux {
    use std::ffi::{CStr, c_int, c_void};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, Ordering};
    use std::{mem, ptr, slice};

    const SIGNALS: [(c_int, &str); 5] = [
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGABRT, "SIGABRT"),
    ];
    /// Bytes that the sentence may have.
    const LONGEST: usize = 512;
    /// The type of the note that holds a build-id, and its name (elf.h).
    const NT_GNU_BUILD_ID: u32 = 3;
    const GNU: &[u8] = b"GNU\0";

    /// The program or a library, as it lies in memory.
    #[derive(Debug, Default)]
    struct Module {
        name: Vec<u8>,
        /// What is added to an address in its file to get the one in memory.
        bias: usize,
        start: usize,
        end: usize,
        /// In hexadecimal digits; empty if it has none.
        build_id: String,
    }

    /// What is known when the process crashes. It is leaked, since a crash may come at any time.
    #[derive(Debug, Default)]
    struct Known {
        /// The file name of the plugin's library.
        library: Vec<u8>,
        is_loaded: bool,
        modules: Vec<Module>,
    }

    static KNOWN: AtomicPtr<Known> = AtomicPtr::new(ptr::null_mut());
    /// The handlers that were there before, for each of [`SIGNALS`]: Rust's own tells when a stack overflows.
    static BEFORE: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();

    /// Notes where the program and all libraries lie now.
    pub(super) fn remember_modules(library: &Path, is_loaded: bool) {
        let library = library.file_name().unwrap_or_default().as_bytes().to_vec();
        let mut known = Known { library, is_loaded, modules: Vec::new() };
        // SAFETY: `note_module` has the type that this function calls, and gets `known`, which nothing else uses
        // meanwhile.
        unsafe { libc::dl_iterate_phdr(Some(note_module), (&raw mut known).cast()) };
        KNOWN.store(Box::into_raw(Box::new(known)), Ordering::Release);
    }

    /// Catches the signals of a crash.
    pub(super) fn install() {
        // SAFETY: all zeros is a value of this struct of numbers and pointers: the default action, without flags.
        let mut before = [unsafe { mem::zeroed::<libc::sigaction>() }; SIGNALS.len()];
        for ((signal, _), before) in SIGNALS.iter().zip(&mut before) {
            // SAFETY: both point to valid structs or nowhere; this only reads what is set.
            unsafe { libc::sigaction(*signal, ptr::null(), before) };
        }
        // From here on the handler can ask for it.
        let _ = BEFORE.set(before);
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_crash;
        for (signal, _) in SIGNALS {
            // SAFETY: as above.
            let mut action: libc::sigaction = unsafe { mem::zeroed() };
            action.sa_sigaction = handler as usize;
            // On the stack for signals, as the thread's own may be used up.
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // SAFETY: `on_crash` has the type that SA_SIGINFO asks for, and calls only what is safe in a handler.
            unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
        }
    }

    /// Tells of the crash, and leaves the rest to whoever handled these signals before.
    extern "C" fn on_crash(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel hands over what it knows of the signal and the interrupted thread's context; the other
        // pointer is null or one that `remember_modules` leaked.
        let (was_sent, counter, known) = unsafe {
            let known = KNOWN.load(Ordering::Acquire).as_ref();
            ((*info).si_code <= 0, program_counter(&*context.cast()), known)
        };
        if let Some(known) = known {
            let mut line = Line::new();
            tell(&mut line, name_of(signal), known, counter);
            // SAFETY: write() is safe in a handler; the line has so many bytes. Nothing can be done if it fails.
            unsafe { libc::write(2, line.bytes.as_ptr().cast(), line.len) };
        }
        // All of them, since Rust's handler ends the process by SIGABRT, for which the stack for signals has no room left.
        for ((signal, _), before) in SIGNALS.iter().zip(BEFORE.get().into_iter().flatten()) {
            // SAFETY: sigaction() is safe in a handler, and `before` is a struct that it filled in.
            unsafe { libc::sigaction(*signal, before, ptr::null_mut()) };
        }
        // The instruction that crashed runs again after this function, and its signal goes to the handler from before. A
        // signal that was sent, as by abort(), has to be sent again; it waits until this function is over.
        if was_sent {
            // SAFETY: all zeros is the default action; sigaction() and raise() are safe in a handler.
            unsafe {
                libc::sigaction(signal, &mem::zeroed(), ptr::null_mut());
                libc::raise(signal);
            }
        }
    }

    fn name_of(signal: c_int) -> &'static str {
        SIGNALS.iter().find(|(known, _)| *known == signal).map_or("?", |(_, name)| name)
    }

    #[cfg(target_arch = "x86_64")]
    fn program_counter(context: &libc::ucontext_t) -> usize {
        context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize
    }

    #[cfg(target_arch = "aarch64")]
    fn program_counter(context: &libc::ucontext_t) -> usize {
        context.uc_mcontext.pc as usize
    }

    /// The sentence about a crash. Outside of all modules the counter is not told: a plugin that jumped astray may have
    /// taken it from anywhere in its memory.
    fn tell(line: &mut Line, signal: &str, known: &Known, counter: usize) {
        let is_there = |module: &&Module| (module.start..module.end).contains(&counter);
        line.push(b"crashed (");
        line.push(signal.as_bytes());
        line.push(b") ");
        match known.modules.iter().find(is_there) {
            Some(module) => {
                line.push(b"at ");
                line.push(&module.name);
                line.push(b"+0x");
                line.push_hex(counter.wrapping_sub(module.bias));
                if !module.build_id.is_empty() {
                    line.push(b", build-id ");
                    line.push(module.build_id.as_bytes());
                }
            }
            None if known.is_loaded => {
                line.push(b"in no library that was loaded with ");
                line.push(&known.library);
            }
            None => {
                line.push(b"while ");
                line.push(&known.library);
                line.push(b" was loaded, in no library that was loaded before");
            }
        }
        line.push(b"\n");
    }

    /// A line of bounded length on the stack.
    struct Line {
        bytes: [u8; LONGEST],
        len: usize,
    }

    impl Line {
        fn new() -> Line {
            Line { bytes: [0; LONGEST], len: 0 }
        }

        /// Adds as much as there is room for.
        fn push(&mut self, more: &[u8]) {
            for (free, byte) in self.bytes[self.len..].iter_mut().zip(more) {
                *free = *byte;
                self.len += 1;
            }
        }

        fn push_hex(&mut self, number: usize) {
            let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
            for digit in (0..digits).rev() {
                self.push(&[b"0123456789abcdef"[number >> (4 * digit) & 15]]);
            }
        }
    }

    /// Adds a module to the [`Known`] that `data` points to.
    extern "C" fn note_module(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
        // SAFETY: dl_iterate_phdr() hands over a valid struct, whose name is null or a C string and whose headers
        // are so many; `remember_modules` hands over the rest.
        let (known, bias, path, headers) = unsafe {
            let info = &*info;
            let path = info.dlpi_name;
            let path = if path.is_null() { b"" } else { CStr::from_ptr(path).to_bytes() };
            let headers = slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
            (&mut *data.cast::<Known>(), info.dlpi_addr as usize, path, headers)
        };
        let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let place = |header: &libc::Elf64_Phdr| {
            let start = bias.wrapping_add(header.p_vaddr as usize);
            (start, start.saturating_add(header.p_memsz as usize))
        };
        let readable: Vec<(usize, usize)> =
            loaded.clone().filter(|header| header.p_flags & libc::PF_R != 0).map(place).collect();
        let notes = headers.iter().filter(|header| header.p_type == libc::PT_NOTE);
        let build_id = notes.filter_map(|note| {
            let (start, end) = place(note);
            readable.iter().find(|(from, to)| *from <= start && end <= *to)?;
            // SAFETY: these bytes lie in a part of the module that the loader has mapped to be read.
            let bytes = unsafe { slice::from_raw_parts(start as *const u8, end - start) };
            build_id(bytes, note.p_align as usize)
        });
        known.modules.push(Module {
            name: name(path, &known.library),
            bias,
            start: loaded.clone().map(|header| place(header).0).min().unwrap_or_default(),
            end: loaded.map(|header| place(header).1).max().unwrap_or_default(),
            build_id: build_id.map(hex).next().unwrap_or_default(),
        });
        0
    }

    /// What a module is called whose path the loader knows. The program has none there. A plugin's library may have been
    /// loaded from a copy in memory.
    fn name(path: &[u8], library: &[u8]) -> Vec<u8> {
        if path.is_empty() {
            b"ticket-host".to_vec()
        } else if path.starts_with(b"/proc/") {
            library.to_vec()
        } else {
            path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec()
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The build-id among the notes of a module, which are padded to `align` bytes (elf(5)).
    fn build_id(mut notes: &[u8], align: usize) -> Option<&[u8]> {
        // 0 and 1 mean that nothing was said, and then it is 4.
        let align = if align == 8 { 8 } else { 4 };
        loop {
            let (head, _) = notes.split_first_chunk::<12>()?;
            let number = |at: usize| {
                let bytes = head[at..at + 4].try_into();
                u32::from_ne_bytes(bytes.expect("4 bytes were taken"))
            };
            let name_end = 12 + number(0) as usize;
            let start = name_end.next_multiple_of(align);
            let end = start + number(4) as usize;
            let (name, value) = (notes.get(12..name_end)?, notes.get(start..end)?);
            if number(8) == NT_GNU_BUILD_ID && name == GNU {
                return Some(value);
            }
            notes = notes.get(end.next_multiple_of(align)..)?;
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn told(known: &Known, counter: usize) -> String {
            let mut line = Line::new();
            tell(&mut line, "SIGSEGV", known, counter);
            String::from_utf8(line.bytes[..line.len].to_vec()).unwrap()
        }

        #[test]
        fn a_crash_is_told_by_module_and_offset_and_else_without_a_number() {
            let module = Module {
                name: b"libx.so".to_vec(),
                bias: 0x1000,
                start: 0x2000,
                end: 0x3000,
                build_id: "0aff".to_owned(),
            };
            let mut known =
                Known { library: b"liby.so".to_vec(), is_loaded: true, modules: vec![module] };
            assert_eq!(
                told(&known, 0x2abc),
                "crashed (SIGSEGV) at libx.so+0x1abc, build-id 0aff\n"
            );
            let outside = "crashed (SIGSEGV) in no library that was loaded with liby.so\n";
            assert_eq!(told(&known, 0x1fff), outside);
            assert_eq!(told(&known, 0x3000), outside);
            known.is_loaded = false;
            assert!(told(&known, 0).contains("while liby.so was loaded, in no library"));
            known.modules[0].build_id.clear();
            assert_eq!(told(&known, 0x2000), "crashed (SIGSEGV) at libx.so+0x1000\n");
            known.modules[0].name = vec![b'x'; 1000];
            assert_eq!(told(&known, 0x2000).len(), LONGEST);
        }

        #[test]
        fn a_build_id_is_found_among_other_notes_and_nonsense_has_none() {
            let note = |name: &[u8], kind: u32, value: &[u8], align: usize| {
                let mut bytes = Vec::new();
                for number in [name.len() as u32, value.len() as u32, kind] {
                    bytes.extend(number.to_ne_bytes());
                }
                for part in [name, value] {
                    bytes.extend(part);
                    bytes.resize(bytes.len().next_multiple_of(align), 0);
                }
                bytes
            };
            let id = note(GNU, NT_GNU_BUILD_ID, b"\x01\x02\x03", 4);
            let others = [note(b"Go\0\0", 4, b"abcde", 4), note(GNU, 1, b"abcdefgh", 4)].concat();
            assert_eq!(
                build_id(&[others.clone(), id.clone()].concat(), 4),
                Some(&b"\x01\x02\x03"[..])
            );
            assert_eq!(build_id(&note(GNU, NT_GNU_BUILD_ID, b"\x09", 8), 8), Some(&b"\x09"[..]));
            assert_eq!(build_id(&others, 4), None);
            for cut in 0..16 {
                assert_eq!(build_id(&id[..cut], 4), None, "{cut}");
            }
            let mut huge = id;
            huge[0..8].fill(0xff);
            assert_eq!(build_id(&huge, 4), None);
        }

        #[test]
        fn this_programs_own_modules_are_found() {
            let counter = name_of as *const () as usize;
            remember_modules(Path::new("/x/libx.so"), true);
            // SAFETY: it was stored by the line above, and is never freed.
            let known = unsafe { &*KNOWN.load(Ordering::Acquire) };
            assert!(told(known, counter).starts_with("crashed (SIGSEGV) at ticket-host+0x"));
            assert!(known.modules.iter().any(|module| module.name.starts_with(b"libc.so")));
        }
    }
}
