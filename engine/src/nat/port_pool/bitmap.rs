//! A set of ports, one bit for each of them.

const PORTS: usize = 1 << 16;
pub(super) const WORDS: usize = PORTS / 64;

/// One bit per port.
#[derive(Clone, Debug)]
pub(super) struct Bitmap(pub(super) Box<[u64]>);

impl Bitmap {
    pub(super) fn new() -> Bitmap {
        Bitmap(vec![0; WORDS].into_boxed_slice())
    }

    pub(super) fn contains(&self, port: u16) -> bool {
        self.0[port as usize / 64] & 1 << (port % 64) != 0
    }

    pub(super) fn set(&mut self, port: u16) {
        self.0[port as usize / 64] |= 1 << (port % 64);
    }

    pub(super) fn clear(&mut self, port: u16) {
        self.0[port as usize / 64] &= !(1 << (port % 64));
    }

    pub(super) fn iter(&self) -> std::vec::IntoIter<u16> {
        let ports = self.0.iter().enumerate();
        let ports = ports.flat_map(|(word, &set)| bits(set).map(move |bit| (word * 64) as u16 + bit));
        ports.collect::<Vec<_>>().into_iter()
    }
}

/// The positions of the set bits.
pub(super) fn bits(mut word: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as u16)?;
        word &= word - 1;
        Some(bit)
    })
}
