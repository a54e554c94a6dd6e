//! Descriptors that host and worker hand to each other over the socket between them (unix(7), SCM_RIGHTS): what was
//! opened and checked on one side is used on the other, whatever becomes of its name meanwhile.
//!
//! They come with one byte of their own, which is not part of a frame.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Descriptors that are handed over at once. Linux takes up to 253.
pub const MOST: usize = 64;

/// Sends descriptors, and one byte with them.
///
/// # Errors
/// There are more than [`MOST`], or the other end is gone.
pub fn send(socket: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > MOST {
        return Err(io::Error::other(format!("more than {MOST} descriptors")));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        // There is room for as many.
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives what [`send`] sent. Each descriptor is closed when a program is started.
///
/// # Errors
/// The other end is gone, or sent more than one hand-over may have.
pub fn receive(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
        _ => Vec::new(),
    });
    let descriptors = descriptors.collect();
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost on their way"));
    }
    Ok(descriptors)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_handed_over_is_the_very_file_and_a_gone_end_is_an_error() {
        let (here, there) = UnixStream::pair().unwrap();
        let files = [File::open("/dev/null").unwrap(), File::open("/").unwrap()];
        send(&here, &files.each_ref().map(AsFd::as_fd)).unwrap();
        send(&here, &[]).unwrap();
        let received = receive(&there).unwrap();
        let inode =
            |file: &dyn Fn() -> rustix::io::Result<rustix::fs::Stat>| file().unwrap().st_ino;
        for (file, received) in files.iter().zip(&received) {
            assert_eq!(inode(&|| rustix::fs::fstat(file)), inode(&|| rustix::fs::fstat(received)));
        }
        assert_eq!(receive(&there).unwrap().len(), 0);
        let many = vec![files[0].as_fd(); MOST + 1];
        assert!(send(&here, &many).is_err());
        drop(here);
        assert_eq!(receive(&there).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
