//! Keeps the kernel's own IP stack off the devices that are our ports.
//!
//! Without it the box would be a second router on the same wire: the kernel answers ARP and takes packets for any
//! of its addresses on any device (the weak host model, RFC 1122 §3.3.4.2), sends ICMP errors and TCP resets, and
//! forwards if it is told to. So IPv4, ARP and IPv6 are dropped at the device's ingress hook, which lies behind the
//! packet taps that feed [`crate::af_packet`] and before bridges, VLAN devices and the stack. Frames with a VLAN tag
//! are let through, for the VLAN devices on top (a tag with VID 0 is none: IEEE 802.1Q §6.9.3), and so are
//! other protocols (LLDP, 802.1X, ...).
//!
//! Read first: nft(8) "NETDEV ADDRESS FAMILY", linux/netfilter/nf_tables.h. The rules are sent over netlink; no program
//! is run. Each device has a table of its own, whose owner is our netlink socket (Linux 5.12): it cannot be flushed
//! by a firewall script, and the kernel deletes it when we end, however we end. Older kernels do without an owner,
//! and a table that a killed process left is replaced at the next start.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::error::IoError;
use crate::netlink::{Netlink, NetlinkError, Request};

/// Why the kernel could not be kept off a device.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// The device's name is none.
    #[error(transparent)]
    Name(#[from] IoError),
    /// There is no such device.
    #[error("device {0}: no such device")]
    NotFound(String),
    /// Another running process keeps the kernel off this device.
    #[error("device {0}: another running Genkan uses it (nftables: table netdev {table})", table = table_name(.0))]
    Busy(String),
    /// The kernel lacks what is needed.
    #[error(
        "device {device}: cannot keep the kernel's own stack off it: this kernel has no nf_tables for the netdev \
         family (CONFIG_NF_TABLES_NETDEV): {source}"
    )]
    Unsupported {
        /// The device's name.
        device: String,
        /// What the kernel said.
        source: NetlinkError,
    },
    /// The kernel refused.
    #[error("device {device}: cannot keep the kernel's own stack off it: {source}")]
    Refused {
        /// The device's name.
        device: String,
        /// What the kernel said.
        source: NetlinkError,
    },
}

/// Drops IPv4, ARP and IPv6 for the kernel's stack on one device, until it is dropped itself.
#[derive(Debug)]
pub struct Isolation {
    netlink: Netlink,
    table: String,
    /// Somebody else sees to its end.
    left: bool,
}

impl Isolation {
    /// Keeps the kernel off a device, which may be down: best done before it comes up. When a device is deleted and
    /// made again, drop the old value and call this anew.
    ///
    /// # Errors
    /// When the device does not exist, another process does the same to it, or the kernel refuses: without
    /// CAP_NET_ADMIN in the user namespace of the network namespace, or without nf_tables.
    pub fn new(device: &str) -> Result<Isolation, IsolationError> {
        crate::sys::ioctl::check_name(device)?;
        // Since Linux 6.16 a chain may wait for a device that does not exist: older ones say so by themselves.
        nix::net::if_::if_nametoindex(device).map_err(|_| IsolationError::NotFound(device.to_owned()))?;
        let refused = |source| IsolationError::Refused { device: device.to_owned(), source };
        let mut netlink = Netlink::netfilter().map_err(refused)?;
        let result = install(&mut netlink, device, TABLE_OWNER).or_else(|error| match error.errno() {
            // A kernel that knows no owners.
            Some(Errno::EINVAL | Errno::EOPNOTSUPP) => install(&mut netlink, device, 0),
            _ => Err(error),
        });
        match result {
            Ok(()) => Ok(Isolation { netlink, table: table_name(device), left: false }),
            Err(error) => Err(match error.errno() {
                Some(Errno::ENOENT | Errno::ENODEV) => IsolationError::NotFound(device.to_owned()),
                Some(Errno::EPERM) if table_exists(&mut netlink, device) => {
                    IsolationError::Busy(device.to_owned())
                }
                Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EINVAL) => {
                    IsolationError::Unsupported { device: device.to_owned(), source: error }
                }
                _ => refused(error),
            }),
        }
    }
}

impl Isolation {
    /// What keeps it in force: as long as some process has a duplicate of it open.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }

    /// Goes on with what another process has set up for this device, by a duplicate of its descriptor.
    pub fn adopt(device: &str, descriptor: OwnedFd) -> Isolation {
        Isolation { netlink: Netlink::adopt(descriptor), table: table_name(device), left: false }
    }

    /// Leaves it to a process that has adopted it.
    pub fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for Isolation {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        // With an owner, closing the socket does it as well. Gone already (with its device, on some kernels): fine.
        let delete = message(NFT_MSG_DELTABLE, 0, |table| {
            table.text(NFTA_TABLE_NAME, &self.table);
        });
        let _ = self.netlink.batch(&mut transaction(vec![delete]));
    }
}

fn table_name(device: &str) -> String {
    format!("genkan-{device}")
}

const CHAIN: &str = "ingress";
/// Before the chains that people usually put at this hook (nft's priority "filter" is 0).
const PRIORITY: i32 = -500;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFPROTO_NETDEV: u8 = 5;

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const TABLE_OWNER: u32 = 2;

const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_HOOK_DEV: u16 = 3;
const NF_NETDEV_INGRESS: u32 = 0;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFT_REG_VERDICT: u32 = 0;
const NFT_REG_1: u32 = 1;
const NFT_PAYLOAD_LL_HEADER: u32 = 0;

/// What the kernel's stack must not get: IPv4, ARP, IPv6.
const ETHERTYPES: [[u8; 2]; 3] = [[0x08, 0x00], [0x08, 0x06], [0x86, 0xdd]];

/// An nf_tables message of the netdev family.
fn message(kind: u16, flags: i32, fill: impl FnOnce(&mut Request)) -> Request {
    // struct nfgenmsg: family, version, resource id.
    let header = [NFPROTO_NETDEV, 0, 0, 0];
    let mut request = Request::new(NFNL_SUBSYS_NFTABLES << 8 | kind, flags | libc::NLM_F_ACK, &header);
    fill(&mut request);
    request
}

/// Puts messages between the begin and the end of a transaction.
fn transaction(messages: Vec<Request>) -> Vec<Request> {
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    let edge = |kind| Request::new(kind, 0, &[libc::AF_UNSPEC as u8, 0, high, low]);
    let mut all = vec![edge(NFNL_MSG_BATCH_BEGIN)];
    all.extend(messages);
    all.push(edge(NFNL_MSG_BATCH_END));
    all
}

/// Replaces the device's table, whoever left it, with a new one: at once, so that no packet gets by.
fn install(netlink: &mut Netlink, device: &str, table_flags: u32) -> Result<(), NetlinkError> {
    let table = &table_name(device);
    let new_table = |flags: u32| {
        message(NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, |request| {
            request.text(NFTA_TABLE_NAME, table).attribute(NFTA_TABLE_FLAGS, &flags.to_be_bytes());
        })
    };
    let delete_table = message(NFT_MSG_DELTABLE, 0, |request| {
        request.text(NFTA_TABLE_NAME, table);
    });
    let new_chain = message(NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, |request| {
        request
            .text(NFTA_CHAIN_TABLE, table)
            .text(NFTA_CHAIN_NAME, CHAIN)
            .text(NFTA_CHAIN_TYPE, "filter")
            .attribute(NFTA_CHAIN_POLICY, &NF_ACCEPT.to_be_bytes())
            .nest(NFTA_CHAIN_HOOK, |hook| {
                hook.attribute(NFTA_HOOK_HOOKNUM, &NF_NETDEV_INGRESS.to_be_bytes())
                    .attribute(NFTA_HOOK_PRIORITY, &PRIORITY.to_be_bytes())
                    .text(NFTA_HOOK_DEV, device);
            });
    });
    // Deleting needs something to delete.
    let mut messages = vec![new_table(0), delete_table, new_table(table_flags), new_chain];
    for ethertype in ETHERTYPES {
        messages.push(rule(table, &ethertype, &[0xff, 0xff]));
        let [high, low] = ethertype;
        // 802.1Q, VID 0 with any priority.
        messages.push(rule(table, &[0x81, 0x00, 0, 0, high, low], &[0xff, 0xff, 0x0f, 0xff, 0xff, 0xff]));
    }
    netlink.batch(&mut transaction(messages))
}

/// A rule that drops frames whose octets from the EtherType field on are `value` under `mask`.
fn rule(table: &str, value: &[u8], mask: &[u8]) -> Request {
    const ETHERTYPE_OFFSET: u32 = 12;
    let length = (value.len() as u32).to_be_bytes();
    let register = NFT_REG_1.to_be_bytes();
    let data = |request: &mut Request, kind: u16, octets: &[u8]| {
        request.nest(kind, |data| {
            data.attribute(NFTA_DATA_VALUE, octets);
        });
    };
    message(NFT_MSG_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_APPEND, |request| {
        request.text(NFTA_RULE_TABLE, table).text(NFTA_RULE_CHAIN, CHAIN).nest(
            NFTA_RULE_EXPRESSIONS,
            |list| {
                // Destination register, base, offset, length. A tag that the device took off is put in for this.
                expression(list, "payload", |payload| {
                    payload
                        .attribute(1, &register)
                        .attribute(2, &NFT_PAYLOAD_LL_HEADER.to_be_bytes())
                        .attribute(3, &ETHERTYPE_OFFSET.to_be_bytes())
                        .attribute(4, &length);
                });
                // Source and destination register, length, mask, exclusive or.
                expression(list, "bitwise", |bitwise| {
                    bitwise.attribute(1, &register).attribute(2, &register).attribute(3, &length);
                    data(bitwise, 4, mask);
                    data(bitwise, 5, &vec![0; value.len()]);
                });
                // Source register, operation (0: equal), value.
                expression(list, "cmp", |cmp| {
                    cmp.attribute(1, &register).attribute(2, &0u32.to_be_bytes());
                    data(cmp, 3, value);
                });
                // Destination register, value.
                expression(list, "immediate", |immediate| {
                    immediate.attribute(1, &NFT_REG_VERDICT.to_be_bytes()).nest(2, |data| {
                        data.nest(NFTA_DATA_VERDICT, |verdict| {
                            verdict.attribute(NFTA_VERDICT_CODE, &NF_DROP.to_be_bytes());
                        });
                    });
                });
            },
        );
    })
}

fn expression(list: &mut Request, name: &str, fill: impl FnOnce(&mut Request)) {
    list.nest(NFTA_LIST_ELEM, |element| {
        element.text(NFTA_EXPR_NAME, name).nest(NFTA_EXPR_DATA, fill);
    });
}

fn table_exists(netlink: &mut Netlink, device: &str) -> bool {
    let get = message(NFT_MSG_GETTABLE, 0, |request| {
        request.text(NFTA_TABLE_NAME, &table_name(device));
    });
    netlink.query(get).is_ok()
}
