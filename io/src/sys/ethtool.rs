//! Device features by name (ethtool's `-k` and `-K`), its driver (`-i`) and its queues (`-l`): linux/ethtool.h over
//! SIOCETHTOOL.

use std::io;
use std::os::fd::BorrowedFd;

use super::ioctl;
use crate::error::IoError;

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
/// The string set that names features.
const ETH_SS_FEATURES: u32 = 4;
/// Octets of a name.
const ETH_GSTRING_LEN: usize = 32;

/// One feature of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Feature {
    /// As `ethtool -k` calls it in the kernel: "rx-gro", "rx-lro", ...
    pub(crate) name: String,
    /// In force now.
    pub(crate) active: bool,
    /// May be changed on this device.
    pub(crate) changeable: bool,
}

/// All features of a device, in the kernel's order.
pub(crate) fn features(socket: BorrowedFd<'_>, device: &str) -> Result<Vec<Feature>, IoError> {
    let names = feature_names(socket, device)?;
    let blocks = names.len().div_ceil(32);
    // cmd, size, then four words (available, requested, active, never changed) for each 32 features.
    let mut answer = vec![0; 2 + 4 * blocks];
    (answer[0], answer[1]) = (ETHTOOL_GFEATURES, blocks as u32);
    // SAFETY: room for `blocks` blocks of four words.
    unsafe { call(socket, device, &mut answer, "list its features") }?;
    let bit = |index: usize, word: usize| answer[2 + 4 * (index / 32) + word] >> (index % 32) & 1 != 0;
    Ok(names
        .into_iter()
        .enumerate()
        .map(|(index, name)| Feature {
            name,
            active: bit(index, 2),
            changeable: bit(index, 0) && !bit(index, 3),
        })
        .collect())
}

/// Switches one feature, `index` in the list of [`features`] of `count` features.
pub(crate) fn set_feature(
    socket: BorrowedFd<'_>,
    device: &str,
    index: usize,
    count: usize,
    on: bool,
) -> Result<(), IoError> {
    let blocks = count.div_ceil(32);
    // cmd, size, then two words (valid, requested) for each 32 features.
    let mut request = vec![0; 2 + 2 * blocks];
    (request[0], request[1]) = (ETHTOOL_SFEATURES, blocks as u32);
    request[2 + 2 * (index / 32)] = 1 << (index % 32);
    request[3 + 2 * (index / 32)] = u32::from(on) << (index % 32);
    // SAFETY: the kernel only reads here.
    unsafe { call(socket, device, &mut request, "change its features") }
}

/// What drives a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Driver {
    /// "veth", "ixgbe", ...
    pub(crate) name: String,
    /// Where it sits in the machine; empty for devices of software.
    pub(crate) bus: String,
}

/// The driver of a device.
pub(crate) fn driver(socket: BorrowedFd<'_>, device: &str) -> Result<Driver, IoError> {
    // cmd, five names of 32 octets (driver, version, firmware, bus, ROM), 12 octets reserved, five counts.
    let mut answer = [0; 1 + 5 * 8 + 3 + 5];
    answer[0] = ETHTOOL_GDRVINFO;
    // SAFETY: as long as struct ethtool_drvinfo, which is all that is written.
    unsafe { call(socket, device, &mut answer, "ask for its driver") }?;
    let text = |word: usize| {
        let octets: Vec<u8> = answer[word..word + 8].iter().flat_map(|word| word.to_ne_bytes()).collect();
        crate::netlink::as_text(&octets)
    };
    Ok(Driver { name: text(1), bus: text(1 + 3 * 8) })
}

/// How many receive queues of a device are in use.
pub(crate) fn receive_queues(socket: BorrowedFd<'_>, device: &str) -> Result<u32, IoError> {
    // cmd, four greatest counts, four current ones: receive, transmit, other, combined.
    let mut answer = [0; 9];
    answer[0] = ETHTOOL_GCHANNELS;
    // SAFETY: as long as struct ethtool_channels, which is all that is written.
    unsafe { call(socket, device, &mut answer, "ask for its queues") }?;
    Ok(answer[5].saturating_add(answer[8]))
}

fn feature_names(socket: BorrowedFd<'_>, device: &str) -> Result<Vec<String>, IoError> {
    // cmd, reserved, 64-bit mask of string sets, then the count of each set asked for.
    let mut sets = [0; 5];
    sets[0] = ETHTOOL_GSSET_INFO;
    let mask = (1u64 << ETH_SS_FEATURES).to_ne_bytes();
    sets[2] = u32::from_ne_bytes([mask[0], mask[1], mask[2], mask[3]]);
    sets[3] = u32::from_ne_bytes([mask[4], mask[5], mask[6], mask[7]]);
    // SAFETY: one bit is set in the mask, so one count is written, and there is room for it.
    unsafe { call(socket, device, &mut sets, "count its features") }?;
    // The kernel clears the bits of sets that it does not have.
    let none = sets[2] == 0 && sets[3] == 0;
    let count = if none { 0 } else { sets[4] as usize };
    // cmd, set, count, then the names.
    let mut strings = vec![0; 3 + count * ETH_GSTRING_LEN / 4];
    (strings[0], strings[1], strings[2]) = (ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count as u32);
    // SAFETY: room for `count` names; their number is fixed when the kernel is built, so it is still that.
    unsafe { call(socket, device, &mut strings, "name its features") }?;
    let octets: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    Ok(octets.chunks_exact(ETH_GSTRING_LEN).map(crate::netlink::as_text).collect())
}

/// # Safety
/// As [`ioctl::ethtool`].
unsafe fn call(
    socket: BorrowedFd<'_>,
    device: &str,
    words: &mut [u32],
    operation: &'static str,
) -> Result<(), IoError> {
    // SAFETY: the caller's promise.
    unsafe { ioctl::ethtool(socket, device, words) }.map_err(|error| match error {
        IoError::System { source, .. } => IoError::Open { device: device.to_owned(), operation, source },
        other => other,
    })
}

/// Whether an error means that the device or its driver has no such thing.
pub(crate) fn is_unsupported(error: &IoError) -> bool {
    let unsupported = |source: &io::Error| matches!(source.raw_os_error(), Some(libc::EOPNOTSUPP));
    matches!(error, IoError::Open { source, .. } if unsupported(source))
}
