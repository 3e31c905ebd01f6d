//! Who a client is to a server.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::Fingerprint;

/// Who a budget belongs to: the holder of a certificate, or of any that an authority gave to one
/// name. Without one, whoever is at an address,
/// which binds only clients that cannot choose theirs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity(String);

impl Identity {
    /// The holder of a certificate.
    pub fn certificate(fingerprint: Fingerprint) -> Identity {
        Identity(format!("certificate {fingerprint}"))
    }

    /// Whoever holds a certificate that an authority gave to `name`: a later one, too.
    pub fn holder(name: &str) -> Identity {
        Identity(format!("name {}", name.to_ascii_lowercase()))
    }

    /// As a budget's file has it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The client that a transport or a configuration calls `name`. Two names are two clients, so a
    /// client must not be able to choose its own.
    pub fn named(name: &str) -> Identity {
        Identity(format!("client {name}"))
    }

    /// The client of an unauthenticated connection from `address`. IPv6 clients choose freely
    /// within their network of 64 bits, so that is who they are.
    pub fn address(address: IpAddr) -> Identity {
        match address.to_canonical() {
            IpAddr::V4(address) => Identity(format!("address {address}")),
            IpAddr::V6(address) => {
                let network = Ipv6Addr::from_bits(address.to_bits() & !(u128::MAX >> 64));
                Identity(format!("network {network}/64"))
            }
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
