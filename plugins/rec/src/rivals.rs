//! One cluster in a namespace (reference, 3.1): which resource has it, when there are several.

use stepwright_sdk::Observed;

use crate::seen::{Rival, Seen};

/// The resource that has the namespace, if it is not this one.
///
/// The oldest has it, and of equally old ones the first by name. But whoever has begun keeps on: two of one second must
/// not take the namespace from each other.
pub(crate) fn winner<'a>(seen: &'a Seen<'_>) -> Option<&'a str> {
    if seen.statefulset.is_some() {
        return None;
    }
    let began = |rival: &Observed<Rival>| !matches!(rival.status.state.as_str(), "" | "Invalid" | "PendingCreation");
    let mine = (seen.cluster.metadata.creation_timestamp.as_str(), seen.name());
    seen.rivals
        .iter()
        .filter(|rival| began(rival) || (rival.metadata.creation_timestamp.as_str(), rival.id.name.as_str()) < mine)
        .map(|rival| rival.id.name.as_str())
        .min()
}
