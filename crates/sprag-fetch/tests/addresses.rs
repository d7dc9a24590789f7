//! Names with addresses of both families, of which some are dead.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use embassy_futures::block_on;
use embedded_io_async::{Error as _, ErrorKind, ErrorType, Read, Write};
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use sprag_fetch::{Connector, Error, Fetcher, Scheme, Session, TcpConnectError, TcpConnector, Url};
use sprag_testkit::http::{Connection, HttpServer, Refused};
use sprag_testkit::time::VirtualTime;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// A stack whose resolver prefers one family.
struct Stack {
    server: HttpServer,
    /// What the name has, the preferred one first.
    has: Vec<IpAddr>,
    alive: RefCell<Vec<IpAddr>>,
    lookups: Cell<usize>,
}

impl Dns for Stack {
    type Error = Refused;

    async fn get_host_by_name(&self, _: &str, wanted: AddrType) -> Result<IpAddr, Refused> {
        self.lookups.set(self.lookups.get() + 1);
        let fits = |address: &&IpAddr| match wanted {
            AddrType::IPv4 => address.is_ipv4(),
            AddrType::IPv6 => address.is_ipv6(),
            AddrType::Either => true,
        };
        self.has.iter().find(fits).copied().ok_or(Refused)
    }

    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, Refused> {
        Err(Refused)
    }
}

impl TcpConnect for Stack {
    type Error = Refused;
    type Connection<'a> = Connection;

    async fn connect(&self, remote: SocketAddr) -> Result<Connection, Refused> {
        if !self.alive.borrow().contains(&remote.ip()) {
            return Err(Refused);
        }
        self.server.connect(remote).await
    }
}

const SETS: [&[IpAddr]; 5] = [&[], &[V4], &[V6], &[V4, V6], &[V6, V4]];

/// Every set of addresses, every set of those that are alive, before and after it changes: a living one is found at the second
/// try, and then stayed with.
#[test]
fn a_living_address_is_found_by_the_second_try() {
    let pairs = || SETS.into_iter().flat_map(|first| SETS.map(|second| (first, second)));
    for (has, (before, after)) in SETS.into_iter().flat_map(|has| pairs().map(move |pair| (has, pair))) {
        let server = HttpServer::new(vec![]);
        let stack = Stack { server, has: has.to_vec(), alive: before.to_vec().into(), lookups: Cell::new(0) };
        let connector = TcpConnector::new(&stack, &stack);
        for alive in [before, after] {
            *stack.alive.borrow_mut() = alive.to_vec();
            let reachable = has.iter().any(|address| alive.contains(address));
            let mut tries = (0..4).map(|_| block_on(connector.connect(Scheme::Http, "name", 80)).is_ok());
            let context = format!("{has:?}, {before:?}, then {after:?}");
            let first_two = [tries.next().unwrap(), tries.next().unwrap()];
            assert_eq!(first_two.contains(&true), reachable, "{context}");
            assert!(tries.all(|connected| connected == reachable), "{context}");
        }
        assert!(stack.lookups.get() <= 2 * 8);
    }
}

/// What a stack says depends on the address, and so on a DNS answer, which anybody on the way can forge.
#[test]
fn no_error_of_the_stack_ends_a_download() {
    use ErrorKind as K;
    let kinds = [K::Unsupported, K::InvalidInput, K::InvalidData, K::PermissionDenied];
    for kind in kinds {
        for error in [TcpConnectError::Tcp(kind), TcpConnectError::Dns(kind)] {
            assert_eq!(error.kind(), K::Other, "{error}: the next try follows");
            let error = Error::Connect(error);
            assert!(error.is_retryable() && error.reason() == "connect-failed", "{error}");
        }
    }
    assert_eq!(TcpConnectError::<K, K>::Tcp(K::ConnectionRefused).kind(), K::ConnectionRefused);
    assert!(!Error::Connect(TcpConnectError::<K, K>::NoTls).is_retryable());
}

/// A stack with IPv4 alone. What it says of an address of the other family differs from stack to stack.
struct V4Only {
    server: HttpServer,
    says: ErrorKind,
    tries: Cell<usize>,
}

impl TcpConnect for V4Only {
    type Error = ErrorKind;
    type Connection<'a> = Plain;

    async fn connect(&self, remote: SocketAddr) -> Result<Plain, ErrorKind> {
        self.tries.set(self.tries.get() + 1);
        if remote.is_ipv6() {
            return Err(self.says);
        }
        self.server.connect(remote).await.map(Plain).map_err(|error| error.kind())
    }
}

/// A connection whose errors are kinds.
struct Plain(Connection);

impl ErrorType for Plain {
    type Error = ErrorKind;
}

impl Read for Plain {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        self.0.read(buf).await.map_err(|error| error.kind())
    }
}

impl Write for Plain {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        self.0.write(buf).await.map_err(|error| error.kind())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.0.flush().await.map_err(|error| error.kind())
    }
}

#[test]
fn an_address_that_the_stack_does_not_support_costs_one_try() {
    use ErrorKind as K;
    for says in [K::Unsupported, K::InvalidInput, K::InvalidData, K::PermissionDenied, K::Other] {
        let (time, object) = (VirtualTime::new(), vec![7; 5000]);
        let server = HttpServer::new(object.clone());
        let names = Stack { server: server.clone(), has: vec![V6, V4], alive: vec![].into(), lookups: Cell::new(0) };
        let tcp = V4Only { server, says, tries: Cell::new(0) };
        let mut fetcher = Fetcher::new(TcpConnector::new(&tcp, &names), time.delay());
        let url = Url::parse("http://name/o".bytes()).unwrap();
        let mut download = fetcher.download(url, Session::default());
        let (mut fetched, mut buf) = (Vec::<u8>::new(), [0; 512]);
        time.block_on(async {
            while let count @ 1.. = download.read(&mut buf, &mut |_| {}).await.expect("bytes") {
                fetched.extend(&buf[..count]);
            }
        });
        assert!(fetched == object && tcp.tries.get() == 2, "{says:?}: {} tries", tcp.tries.get());
    }
}
