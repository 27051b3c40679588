//! Who the client says that it is.

/// Who the client says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The Ethernet address of the wan.
    pub hardware_address: [u8; 6],
    /// What the server knows us by (option 61).
    pub client_identifier: ClientIdentifier,
    /// Host name (option 12): one label of 1 to 63 letters, digits and inner hyphens.
    pub host_name: Option<String>,
    /// Vendor class (option 60), 1 to 255 octets, for access networks that give addresses to some classes alone.
    pub vendor_class: Option<Vec<u8>>,
}

/// The value of option 61.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientIdentifier {
    /// Type 1 and the hardware address (RFC 2132 section 9.14), which most access networks expect.
    HardwareAddress,
    /// Type 255, the interface and the box (RFC 4361 section 6.1).
    Rfc4361 {
        /// Number of the interface; must not change while the box lives.
        iaid: u32,
        /// Identifier of the box, 3 to 130 octets (RFC 8415 section 11.1).
        duid: Vec<u8>,
    },
    /// What the access network knows its subscriber by, from the type octet on, 2 to 255 octets.
    Octets(Vec<u8>),
}

/// Why a [`Config`] is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The host name is no label.
    #[error("host name is not one label of letters, digits and inner hyphens")]
    HostName,
    /// The DUID has a length that none has.
    #[error("DUID is not 3 to 130 octets long")]
    Duid,
    /// The client identifier has a length that none has (RFC 2132 section 9.14).
    #[error("client identifier is not 2 to 255 octets long")]
    ClientIdentifier,
    /// The vendor class has a length that none has (RFC 2132 section 9.13).
    #[error("vendor class is not 1 to 255 octets long")]
    VendorClass,
}

/// A [`Config`] that was checked, as the wire wants it.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) hardware_address: [u8; 6],
    pub(super) client_identifier: Vec<u8>,
    pub(super) host_name: Option<String>,
    pub(super) vendor_class: Option<Vec<u8>>,
}

impl TryFrom<Config> for Identity {
    type Error = ConfigError;

    fn try_from(config: Config) -> Result<Identity, ConfigError> {
        if config.host_name.as_deref().is_some_and(|name| !is_label(name)) {
            return Err(ConfigError::HostName);
        }
        if config.vendor_class.as_ref().is_some_and(|class| !(1..=255).contains(&class.len())) {
            return Err(ConfigError::VendorClass);
        }
        let client_identifier = match config.client_identifier {
            ClientIdentifier::HardwareAddress => [&[1][..], &config.hardware_address].concat(),
            ClientIdentifier::Rfc4361 { duid, .. } if !(3..=130).contains(&duid.len()) => {
                return Err(ConfigError::Duid);
            }
            ClientIdentifier::Octets(octets) if !(2..=255).contains(&octets.len()) => {
                return Err(ConfigError::ClientIdentifier);
            }
            ClientIdentifier::Octets(octets) => octets,
            ClientIdentifier::Rfc4361 { iaid, duid } => [&[255][..], &iaid.to_be_bytes(), &duid].concat(),
        };
        Ok(Identity {
            hardware_address: config.hardware_address,
            client_identifier,
            host_name: config.host_name,
            vendor_class: config.vendor_class,
        })
    }
}

fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}
