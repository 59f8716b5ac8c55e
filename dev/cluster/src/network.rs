//! Addresses: which loopback network a cluster owns, and which address a pod gets.
//!
//! A cluster owns one number N. Its pods have addresses in 10.N.0.0/16, and what a pod serves there its process binds
//! in 127.N.0.0/16 under the same port. The control plane sits on 127.N.0.1. Nobody else uses that network, so ports
//! need not be searched: two clusters never meet.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::bail;

/// The port whose listener marks a network as taken.
const MARKER_PORT: u16 = 10_000;
/// The numbers to choose from. The service addresses are 10.(N + 128).0.0/16.
const NUMBERS: std::ops::RangeInclusive<u8> = 32..=126;
/// Must be free as well: they may still be held for a moment by a cluster that is going down.
const PORTS: [u16; 4] = [ports::API_SERVER, ports::ETCD, ports::ETCD_PEERS, ports::KUBELET];

/// The ports of the control plane on 127.N.0.1.
pub(crate) mod ports {
    pub(crate) const API_SERVER: u16 = 6443;
    pub(crate) const ETCD: u16 = 2379;
    pub(crate) const ETCD_PEERS: u16 = 2380;
    pub(crate) const KUBELET: u16 = 10_250;
}

/// A network that is ours as long as this value lives.
#[derive(Debug)]
pub struct Network {
    number: u8,
    _marker: TcpListener,
}

impl Network {
    /// Takes a free one.
    ///
    /// # Errors
    /// When all of them are taken, or this machine does not serve 127.0.0.0/8 as a whole.
    pub fn reserve() -> anyhow::Result<Self> {
        for number in NUMBERS {
            let host = Ipv4Addr::new(127, number, 0, 1);
            let Ok(marker) = TcpListener::bind((host, MARKER_PORT)) else { continue };
            if PORTS.iter().all(|port| TcpListener::bind((host, *port)).is_ok()) {
                return Ok(Self { number, _marker: marker });
            }
        }
        bail!("no free network among 127.{}.0.1 to 127.{}.0.1", NUMBERS.start(), NUMBERS.end())
    }

    /// The number N.
    #[must_use]
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Where the control plane listens.
    #[must_use]
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number, 0, 1)
    }

    /// Under which address pods know the control plane.
    #[must_use]
    pub fn advertised_host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 1)
    }

    /// The address of the Service `kubernetes`.
    pub(crate) fn service_host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number.saturating_add(128), 0, 1)
    }

    /// The addresses of Services. Nothing routes them.
    #[must_use]
    pub fn service_range(&self) -> String {
        format!("10.{}.0.0/16", self.number.saturating_add(128))
    }
}

/// Where the process of a pod binds what the pod serves on `pod_address`.
#[must_use]
pub fn loopback(pod_address: Ipv4Addr) -> Ipv4Addr {
    let [_, number, high, low] = pod_address.octets();
    Ipv4Addr::new(127, number, high, low)
}

/// Hands out pod addresses, the one longest unused first.
#[derive(Debug)]
pub(crate) struct Addresses {
    number: u8,
    next: u16,
    used: HashSet<Ipv4Addr>,
}

impl Addresses {
    pub(crate) fn new(number: u8) -> Self {
        // 10.N.0.x is the control plane's.
        Self { number, next: 0x0100, used: HashSet::new() }
    }

    pub(crate) fn take(&mut self) -> Option<Ipv4Addr> {
        for _ in 0..=u16::MAX {
            let [high, low] = self.next.to_be_bytes();
            self.next = if self.next == 0xffff { 0x0100 } else { self.next + 1 };
            let address = Ipv4Addr::new(10, self.number, high, low);
            if low != 0 && low != 255 && self.used.insert(address) {
                return Some(address);
            }
        }
        None
    }

    pub(crate) fn give_back(&mut self, address: Ipv4Addr) {
        self.used.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_networks_at_once_differ() {
        let (first, second) = (Network::reserve().unwrap(), Network::reserve().unwrap());
        assert_ne!(first.number(), second.number());
    }

    #[test]
    fn a_pod_is_reached_under_the_same_numbers_on_loopback() {
        assert_eq!(loopback(Ipv4Addr::new(10, 40, 1, 7)), Ipv4Addr::new(127, 40, 1, 7));
    }

    #[test]
    fn an_address_given_back_is_not_the_next_one() {
        let mut addresses = Addresses::new(40);
        let first = addresses.take().unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 40, 1, 1));
        addresses.give_back(first);
        assert_eq!(addresses.take().unwrap(), Ipv4Addr::new(10, 40, 1, 2));
    }
}
