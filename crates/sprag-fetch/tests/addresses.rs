//! Names with addresses of both families, of which some are dead.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use embassy_futures::block_on;
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use sprag_fetch::{Connector, Scheme, TcpConnector};
use sprag_testkit::http::{Connection, HttpServer, Refused};

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
