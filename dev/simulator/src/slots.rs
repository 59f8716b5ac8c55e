//! Which of 16384 hash slots a key belongs to, and how slots are cut into shards (REST reference, 16.8).

/// How many slots there are.
pub const SLOTS: u16 = 16_384;

/// The slot of `key`: CRC16 (XMODEM) of the key, or of what stands between its first braces, modulo 16384.
pub fn slot_of(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS
}

/// The part of the key that is hashed: the first non-empty `{tag}`, else all of it.
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let rest = key.get(open + 1..).unwrap_or_default();
    match rest.iter().position(|byte| *byte == b'}') {
        Some(close) if close > 0 => rest.get(..close).unwrap_or(key),
        _ => key,
    }
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

/// The inclusive slot range of shard group `index` out of `count`.
pub fn range(index: u32, count: u32) -> (u16, u16) {
    let count = count.max(1);
    let edge = |i: u32| u16::try_from(u32::from(SLOTS) * i / count).unwrap_or(SLOTS);
    (edge(index), edge(index + 1).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_hash_to_known_slots() {
        assert_eq!(slot_of(b"123456789"), 0x31C3 % SLOTS);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"a{foo}b"), slot_of(b"foo"));
        assert_eq!(slot_of(b"{}x"), crc16(b"{}x") % SLOTS);
    }

    #[test]
    fn ranges_cover_all_slots_once() {
        for count in 1..=7 {
            let ranges: Vec<_> = (0..count).map(|i| range(i, count)).collect();
            assert_eq!(ranges[0].0, 0);
            assert_eq!(ranges.last().unwrap().1, SLOTS - 1);
            assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
        }
    }
}
