//! What connections are made of: sockets, and what the system is asked to do for them beyond reading and writing.

use std::io;
use std::os::fd::{AsFd, IntoRawFd};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A stream of a client.
pub(super) trait Wire: AsyncRead + AsyncWrite + AsFd + Unpin {
    /// The stream is ready to be read once so many bytes have arrived, or it ended, from now on. What has arrived already
    /// counts. Where the system cannot do that it is ready as soon as anything has arrived, as at the beginning (1).
    fn await_bytes(&self, bytes: usize);

    /// The client sees it closed when the process ends, and not before.
    fn outlive_connection(&self) {
        // Without a descriptor for that it is closed now.
        if let Ok(kept) = self.as_fd().try_clone_to_owned() {
            let _never_closed = kept.into_raw_fd();
        }
    }
}

impl Wire for TcpStream {
    fn await_bytes(&self, bytes: usize) {
        // Refused it is as good as before, but wakes oftener.
        let _ = set_receive_low_water(self, bytes);
    }
}

impl Wire for UnixStream {
    /// There the system waits for more than one byte only in calls that block.
    fn await_bytes(&self, _: usize) {}
}

/// `SO_RCVLOWAT`, for which none of the libraries here has a call.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no library here sets this option")]
fn set_receive_low_water(stream: &TcpStream, bytes: usize) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open as long as the stream is borrowed, and the option's value is an integer of that size.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Elsewhere readiness may mean something else with it.
#[cfg(not(target_os = "linux"))]
fn set_receive_low_water(_: &TcpStream, _: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
