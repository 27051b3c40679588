//! Packets of the running router: `GET /v1/capture`.

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// Query of a capture. The answer is a stream of pcapng blocks (`application/x-pcapng`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CaptureQuery {
    /// Only packets that came in or left by this port, by its name; without it by any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Only packets that this filter wants, as they are at that port; a part of the language of pcap-filter(7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Ends after so many packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1)]
    pub count: Option<u64>,
    /// Ends after so many seconds, from 1 to 86,400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 86_400)]
    pub seconds: Option<u32>,
    /// Octets kept of each frame, from 54 to 65,553; 128 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 54, maximum = 65_553)]
    pub snaplen: Option<u32>,
}
