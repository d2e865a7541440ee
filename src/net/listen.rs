//! Listening sockets, and connections fresh from them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::StartError;
use crate::config::{Bind, Config};
use crate::server::clients::Origin;
use crate::umask;

/// What a client from another machine reads while there is no password.
pub(super) const PROTECTED: &[u8] = b"-DENIED Strata is running in protected mode because protected mode is enabled and \
no password is set for the default user. In this mode connections are only accepted from the loopback interface. To \
connect from other machines set a password with the option requirepass, or, where the network is trusted, start the \
server with --protected-mode no.\r\n";

/// The sockets that the server listens on.
pub(super) struct Listeners {
    pub(super) tcp: Vec<TcpListener>,
    pub(super) unix: Option<(UnixListener, PathBuf)>,
}

impl Listeners {
    /// Opens what the options ask for.
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        let mut tcp = Vec::new();
        for bind in addresses(config) {
            tcp.extend(open_tcp(address(bind, config)?, bind, config, &[])?);
        }
        let unix = match &config.unixsocket {
            Some(path) => {
                let path = config.in_dir(path);
                Some((open_unix(&path, config.unixsocketperm)?, path))
            }
            None => None,
        };
        if tcp.is_empty() && unix.is_none() {
            let source = io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "none of the addresses exists here",
            );
            return Err(StartError::new(
                "cannot listen anywhere; change bind, port or unixsocket",
                source,
            ));
        }
        Ok(Self { tcp, unix })
    }
}

impl fmt::Display for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tcp = self
            .tcp
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .map(|a| a.to_string());
        let unix = self.unix.iter().map(|(_, path)| path.display().to_string());
        f.write_str(&tcp.chain(unix).collect::<Vec<_>>().join(", "))
    }
}

/// The addresses that the options ask for.
pub(super) fn addresses(config: &Config) -> impl Iterator<Item = &Bind> {
    let all = config.bind.iter();
    all.filter(|_| config.port != 0)
}

/// An address by its numbers.
pub(super) fn address(bind: &Bind, config: &Config) -> Result<SocketAddr, StartError> {
    let ip = match bind.host.as_str() {
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "::*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        host => resolve(host).map_err(|error| cannot_listen(bind, config, error))?,
    };
    Ok(SocketAddr::new(ip, config.port))
}

fn cannot_listen(bind: &Bind, config: &Config, error: io::Error) -> StartError {
    let (host, port) = (&bind.host, config.port);
    let advice = "choose another with --port or --bind";
    StartError::new(format!("cannot listen on {host}:{port} ({advice})"), error)
}

/// Opens an address, also one that overlaps with what the server listens on already. `None` where it does not exist on this
/// machine and need not.
pub(super) fn open_tcp(
    address: SocketAddr,
    bind: &Bind,
    config: &Config,
    own: &[&TcpListener],
) -> Result<Option<TcpListener>, StartError> {
    match listen_tcp(address, config.tcp_backlog, own) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if bind.optional && is_absent(&error) => Ok(None),
        Err(error) => Err(cannot_listen(bind, config, error)),
    }
}

fn resolve(host: &str) -> io::Result<IpAddr> {
    use std::net::ToSocketAddrs;
    let mut addresses = (host, 0).to_socket_addrs()?;
    let first = addresses.next().map(|address| address.ip());
    first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

/// Whether the machine has no such address or no such family of addresses.
fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.kind() == io::ErrorKind::AddrNotAvailable
        || Errno::from_io_error(error).is_some_and(|e| {
            matches!(
                e,
                Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::NOPROTOOPT
            )
        })
}

fn listen_tcp(address: SocketAddr, backlog: u32, own: &[&TcpListener]) -> io::Result<TcpListener> {
    TcpListener::from_std(listening_socket(address, backlog, own)?.into())
}

fn listening_socket(address: SocketAddr, backlog: u32, own: &[&TcpListener]) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    if address.ip().is_loopback() {
        avoid_pacing(&socket);
    }
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    let listen = || {
        socket.bind(&address.into())?;
        socket.listen(backlog)
    };
    match listen() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !own.is_empty() => {
            // It may be our own: one address and all of them overlap, which the system allows where all sockets say so.
            let sockets = || {
                own.iter()
                    .map(SockRef::from)
                    .chain([SockRef::from(&socket)])
            };
            sockets().try_for_each(|socket| socket.set_reuse_port(true))?;
            let listened = listen();
            // Nobody else may share them later.
            sockets().try_for_each(|socket| socket.set_reuse_port(false))?;
            listened?;
        }
        listened => listened?,
    }
    Ok(socket)
}

/// Connections that never leave the machine are not paced. BBR, which many machines have as their default, spreads what is sent
/// over time, by a timer for each 64 KB: there is no network to be spared here, and long replies take half as much again of CPU.
/// A connection has from its listener what it is sent by; once it is open BBR's timers stay, whatever is chosen then.
#[cfg(target_os = "linux")]
fn avoid_pacing(socket: &Socket) {
    let is_paced = |name: Vec<u8>| name.starts_with(b"bbr");
    if socket.tcp_congestion().is_ok_and(is_paced) {
        // Reno is what every kernel has and everybody may use. Where it is refused all works, but slower.
        let _ = socket.set_tcp_congestion(b"reno");
    }
}

/// Accepts who waits already, without a look at what the runtime knows of it.
pub(super) fn accept_now(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = SockRef::from(listener).accept()?;
    socket.set_nonblocking(true)?;
    let peer = peer.as_socket().ok_or(io::ErrorKind::Unsupported)?;
    Ok((TcpStream::from_std(socket.into())?, peer))
}

fn open_unix(path: &PathBuf, mode: u32) -> Result<UnixListener, StartError> {
    let failed = |error| {
        StartError::new(
            format!("cannot listen on unixsocket {}", path.display()),
            error,
        )
    };
    // A socket that an earlier run left behind is in the way; anything else there is not ours.
    if std::fs::symlink_metadata(path)
        .is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()))
    {
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    match mode {
        0 => umask::widen(path, 0o777).map_err(failed)?,
        _ => {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?
        }
    }
    Ok(listener)
}

/// A connection fresh from a listener.
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream, PathBuf),
}

/// A connection ready to be given to another thread, whose runtime it will belong to.
pub(super) struct Prepared {
    pub(super) stream: PreparedStream,
    pub(super) origin: Origin,
}

pub(super) enum PreparedStream {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Accepted {
    /// Whether the other end is on this machine.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(_, peer) => peer.ip().to_canonical().is_loopback(),
            Self::Unix(..) => true,
        }
    }

    /// Sends a reason, if the socket takes it at once, and closes.
    pub(super) fn refuse(self, reason: &[u8]) {
        // A client that cannot even take this line is refused all the same.
        let _ = match &self {
            Self::Tcp(stream, _) => stream.try_write(reason),
            Self::Unix(stream, _) => stream.try_write(reason),
        };
    }

    /// Sets the socket's options and takes it off the accepting thread's runtime.
    pub(super) fn prepare(self, config: &Config) -> io::Result<Prepared> {
        match self {
            Self::Tcp(stream, peer) => {
                stream.set_nodelay(true)?;
                if config.tcp_keepalive_s > 0 {
                    let time = Duration::from_secs(config.tcp_keepalive_s.into());
                    let third = Duration::from_secs((u64::from(config.tcp_keepalive_s) / 3).max(1));
                    let keepalive = TcpKeepalive::new()
                        .with_time(time)
                        .with_interval(third)
                        .with_retries(3);
                    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                }
                let origin = Origin {
                    address: peer.to_string(),
                    local_address: stream.local_addr()?.to_string(),
                    fd: i64::from(stream.as_raw_fd()),
                    unix: false,
                };
                Ok(Prepared {
                    stream: PreparedStream::Tcp(stream.into_std()?),
                    origin,
                })
            }
            Self::Unix(stream, path) => {
                let address = format!("{}:0", path.display());
                let origin = Origin {
                    address: address.clone(),
                    local_address: address,
                    fd: i64::from(stream.as_raw_fd()),
                    unix: true,
                };
                Ok(Prepared {
                    stream: PreparedStream::Unix(stream.into_std()?),
                    origin,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn connections_within_the_machine_are_not_paced() {
        for paced in [false, true] {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let listener = listening_socket(address, 8, &[]).expect("it listens");
            if paced && listener.set_tcp_congestion(b"bbr").is_ok() {
                // As on a machine where it is the default.
                avoid_pacing(&listener);
            }
            listener.set_nonblocking(false).expect("it is a socket");
            let address = listener.local_addr().expect("it is bound");
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there is a socket");
            client.connect(&address).expect("the listener is there");
            let (accepted, _) = listener.accept().expect("one has connected");
            let name = accepted.tcp_congestion().expect("it has one");
            assert!(!name.starts_with(b"bbr"), "{}", name.escape_ascii());
        }
    }
}
