//! A man in the middle of two honest processes, who understands frames and may change, drop or
//! withhold them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use fusion_backends::Kind;
use fusion_runtime::transport::frame::HEADER_BYTES;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Server,
    Client,
}

/// What happens to a frame.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// It goes on with its header changed.
    Header(fn(&mut [u8; HEADER_BYTES])),
    /// Half of it goes on, then both connections are closed.
    HangUp,
    /// It and all that follow in its direction are withheld; the connections stay open.
    Stall,
}

/// Listens for one client and connects it with the server at `server`. The first frame of `kind` in
/// direction `to` suffers `act`, all others go on as they are. Returns the address to connect to.
pub fn relay(server: &str, to: To, kind: Kind, act: Act) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let upstream = TcpStream::connect(server).unwrap();
    std::thread::spawn(move || {
        let client = listener.accept().unwrap().0;
        let pending = Arc::new(Mutex::new(Some(act)));
        for (direction, from, into) in [(To::Server, &client, &upstream), (To::Client, &upstream, &client)] {
            let (from, into, pending) = (from.try_clone().unwrap(), into.try_clone().unwrap(), Arc::clone(&pending));
            let meddles = direction == to;
            std::thread::spawn(move || {
                let due =
                    |found: u8| (meddles && found == kind as u8).then(|| pending.lock().unwrap().take()).flatten();
                // Whoever ends a connection, the other side must hear of it.
                if forward(&from, &into, due).is_none() {
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = into.shutdown(Shutdown::Both);
                }
            });
        }
    });
    address
}

/// Passes frames on until a connection ends, `None`, or the rest is withheld.
fn forward(mut from: &TcpStream, mut into: &TcpStream, due: impl Fn(u8) -> Option<Act>) -> Option<()> {
    loop {
        let mut header = [0; HEADER_BYTES];
        from.read_exact(&mut header).ok()?;
        let [l0, l1, l2, l3, code, ..] = header;
        let mut payload = vec![0; u32::from_le_bytes([l0, l1, l2, l3]) as usize];
        from.read_exact(&mut payload).ok()?;
        match due(code) {
            None => {}
            Some(Act::Header(change)) => change(&mut header),
            Some(Act::HangUp) => {
                into.write_all(&header).and_then(|()| into.write_all(&payload[..payload.len() / 2])).ok()?;
                return None;
            }
            Some(Act::Stall) => return Some(()),
        }
        into.write_all(&header).and_then(|()| into.write_all(&payload)).ok()?;
    }
}
