//! Places on the earth as scores of a sorted set: geohashes of 52 bits, the bits of longitude and latitude in turn.
//!
//! A geohash of fewer bits is a cell; cells that are neighbours on the map lie in few ranges of scores, which is how what is
//! near is found. The earth is a ball here, as for Redis, whose cells and formulas these are.

use std::f64::consts::PI;

/// The longitudes that there are: from minus this to this, in degrees.
pub const LONGITUDE_MAX: f64 = 180.0;
/// The latitudes that a geohash knows, those of the Mercator projection.
pub const LATITUDE_MAX: f64 = 85.051_128_78;
/// Bits of each coordinate in a score.
const STEPS_MAX: u32 = 26;
const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
const MERCATOR_MAX_M: f64 = 20_037_726.37;
const DEGREE: f64 = PI / 180.0;
const LONGITUDE_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;
const LATITUDE_BITS: u64 = 0x5555_5555_5555_5555;

/// A place, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// East is positive.
    pub longitude: f64,
    /// North is positive.
    pub latitude: f64,
}

/// What is searched: around a centre, in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Up to a distance.
    Circle {
        /// The distance.
        radius: f64,
    },
    /// In a rectangle along the meridians.
    Box {
        /// From west to east.
        width: f64,
        /// From south to north.
        height: f64,
    },
}

/// A cell of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u64,
    steps: u32,
}

/// From where to where it goes, in degrees.
#[derive(Clone, Copy, Debug)]
struct Area {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

impl Shape {
    /// The same where a unit has so many metres.
    #[must_use]
    pub fn scaled(self, meters: f64) -> Self {
        match self {
            Self::Circle { radius } => Self::Circle {
                radius: radius * meters,
            },
            Self::Box { width, height } => Self::Box {
                width: width * meters,
                height: height * meters,
            },
        }
    }
}

impl Position {
    /// The score of the place.
    pub fn score(self) -> u64 {
        self.cell(STEPS_MAX, LATITUDE_MAX).bits
    }

    /// The place of a score: the middle of its cell.
    pub fn of_score(score: f64) -> Self {
        let cell = Cell {
            bits: score as u64,
            steps: STEPS_MAX,
        };
        let Area {
            longitude,
            latitude,
        } = cell.area();
        let middle = |(from, to): (f64, f64), most: f64| ((from + to) / 2.0).clamp(-most, most);
        Self {
            longitude: middle(longitude, LONGITUDE_MAX),
            latitude: middle(latitude, LATITUDE_MAX),
        }
    }

    fn cell(self, steps: u32, latitude_max: f64) -> Cell {
        let part = |coordinate: f64, most: f64| {
            let part = (coordinate + most) / (2.0 * most);
            (part * (1_u64 << steps) as f64) as u32
        };
        let (x, y) = (
            part(self.latitude, latitude_max),
            part(self.longitude, LONGITUDE_MAX),
        );
        Cell {
            bits: spread(x) | spread(y) << 1,
            steps,
        }
    }

    /// The geohash of eleven letters that maps use, whose latitudes go to the poles. It has one letter more than there are bits
    /// for: the last is always 0.
    pub fn geohash(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = self.cell(STEPS_MAX, 90.0).bits;
        let mut letters = [LETTERS[0]; 11];
        for (i, letter) in letters.iter_mut().take(10).enumerate() {
            *letter = LETTERS[(bits >> (52 - (i + 1) * 5) & 0x1f) as usize];
        }
        letters
    }

    /// The distance to another place over the surface, in metres.
    pub fn distance(self, other: Self) -> f64 {
        let v = ((other.longitude * DEGREE - self.longitude * DEGREE) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance(self.latitude, other.latitude);
        }
        let (from, to) = (self.latitude * DEGREE, other.latitude * DEGREE);
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }
}

fn latitude_distance(from: f64, to: f64) -> f64 {
    EARTH_RADIUS_M * (to * DEGREE - from * DEGREE).abs()
}

/// Puts a zero before each bit.
fn spread(bits: u32) -> u64 {
    let mut bits = u64::from(bits);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, LATITUDE_BITS),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Takes every second bit.
fn gather(bits: u64) -> u32 {
    let mut bits = bits & LATITUDE_BITS;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

impl Cell {
    fn area(self) -> Area {
        let range = |part: u32, most: f64| {
            let scale = (1_u64 << self.steps) as f64;
            let at = |part: f64| -most + part / scale * (2.0 * most);
            (at(f64::from(part)), at(f64::from(part) + 1.0))
        };
        Area {
            longitude: range(gather(self.bits >> 1), LONGITUDE_MAX),
            latitude: range(gather(self.bits), LATITUDE_MAX),
        }
    }

    /// The scores of the places in it: from, and up to.
    fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEPS_MAX - self.steps);
        let score = |bits: u64| (bits << shift) as f64;
        (score(self.bits), score(self.bits + 1))
    }

    /// The cell so many cells to the east and to the north, around the earth.
    fn moved(self, east: i8, north: i8) -> Self {
        let unused = 64 - 2 * self.steps;
        let step = |bits: u64, own: u64, other: u64, by: i8| {
            if by == 0 {
                // All of them: at the very end of the earth there is one more bit.
                return bits & own;
            }
            let (own, other) = (own >> unused, other >> unused);
            // The bits of the other coordinate carry.
            let moved = match by {
                1.. => (bits & own).wrapping_add(other + 1),
                _ => (bits & own | other).wrapping_sub(other + 1),
            };
            moved & own
        };
        Self {
            bits: step(self.bits, LONGITUDE_BITS, LATITUDE_BITS, east)
                | step(self.bits, LATITUDE_BITS, LONGITUDE_BITS, north),
            ..self
        }
    }
}

/// The cells around one in the order in which they are searched: to the east, to the north.
const AROUND: [(i8, i8); 9] = [
    (0, 0),
    (0, 1),
    (0, -1),
    (1, 0),
    (-1, 0),
    (1, 1),
    (-1, 1),
    (1, -1),
    (-1, -1),
];

/// A search around a place.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The centre.
    pub center: Position,
    /// What is around it.
    pub shape: Shape,
}

impl Search {
    /// The distance of a place from the centre, if it lies inside.
    pub fn distance(&self, place: Position) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius } => {
                let distance = self.center.distance(place);
                (distance <= radius).then_some(distance)
            }
            Shape::Box { width, height } => {
                let beside = Position {
                    longitude: self.center.longitude,
                    ..place
                };
                let is_inside = latitude_distance(place.latitude, self.center.latitude)
                    <= height / 2.0
                    && place.distance(beside) <= width / 2.0;
                is_inside.then(|| self.center.distance(place))
            }
        }
    }

    /// The ranges of scores, each without its end, that hold all places inside, in the order in which they are searched.
    pub fn scores(&self) -> Vec<(f64, f64)> {
        let bounds = self.bounds();
        let mut steps = self.steps();
        if steps > 1 && !self.is_covered(steps, bounds) {
            steps -= 1;
        }
        let middle = self.center.cell(steps, LATITUDE_MAX);
        let area = middle.area();
        let is_useless = |(east, north): (i8, i8)| {
            steps >= 2
                && (north < 0 && area.latitude.0 < bounds.latitude.0
                    || north > 0 && area.latitude.1 > bounds.latitude.1
                    || east < 0 && area.longitude.0 < bounds.longitude.0
                    || east > 0 && area.longitude.1 > bounds.longitude.1)
        };
        let mut cells: Vec<Cell> = Vec::new();
        for (east, north) in AROUND.into_iter().filter(|to| !is_useless(*to)) {
            let cell = middle.moved(east, north);
            // Around the whole earth two neighbours may be the same.
            if cells.len() < 2 || cells.last() != Some(&cell) {
                cells.push(cell);
            }
        }
        cells.into_iter().map(Cell::scores).collect()
    }

    /// Whether a cell with its neighbours covers what is searched.
    fn is_covered(&self, steps: u32, bounds: Area) -> bool {
        let cell = self.center.cell(steps, LATITUDE_MAX);
        let area = |east, north| cell.moved(east, north).area();
        area(0, 1).latitude.1 >= bounds.latitude.1
            && area(0, -1).latitude.0 <= bounds.latitude.0
            && area(1, 0).longitude.1 >= bounds.longitude.1
            && area(-1, 0).longitude.0 <= bounds.longitude.0
    }

    /// A rectangle that holds it.
    fn bounds(&self) -> Area {
        let (east, north) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let Position {
            longitude,
            latitude,
        } = self.center;
        let up = north / EARTH_RADIUS_M / DEGREE;
        // The nearer pole needs more degrees for a distance.
        let widest = if latitude < 0.0 {
            latitude - up
        } else {
            latitude + up
        };
        let aside = east / EARTH_RADIUS_M / (widest * DEGREE).cos() / DEGREE;
        Area {
            longitude: (longitude - aside, longitude + aside),
            latitude: (latitude - up, latitude + up),
        }
    }

    /// How fine cells may be so that a cell and its neighbours cover it, about.
    fn steps(&self) -> u32 {
        let mut reach = match self.shape {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => (width / 2.0).hypot(height / 2.0),
        };
        if reach == 0.0 {
            return STEPS_MAX;
        }
        let mut steps: i32 = 1;
        while reach < MERCATOR_MAX_M {
            reach *= 2.0;
            steps += 1;
        }
        steps -= 2;
        let latitude = self.center.latitude.abs();
        steps -= i32::from(latitude > 66.0) + i32::from(latitude > 80.0);
        steps.clamp(1, STEPS_MAX as i32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::testing::rounds;

    const PALERMO: Position = Position {
        longitude: 13.361_389,
        latitude: 38.115_556,
    };
    const CATANIA: Position = Position {
        longitude: 15.087_269,
        latitude: 37.502_669,
    };

    #[test]
    fn scores_are_those_of_redis_and_come_back() {
        assert_eq!(PALERMO.score(), 3_479_099_956_230_698);
        assert_eq!(CATANIA.score(), 3_479_447_370_796_909);
        assert_eq!(
            &Position::of_score(3_479_099_956_230_698.0).geohash(),
            b"sqc8b49rny0"
        );
        let found = Position::of_score(PALERMO.score() as f64);
        assert!(found.distance(PALERMO) < 1.0);
    }

    #[test]
    fn distances_are_those_of_a_ball() {
        let stored = |place: Position| Position::of_score(place.score() as f64);
        let distance = stored(PALERMO).distance(stored(CATANIA));
        assert_eq!(format!("{distance:.4}"), "166274.1516");
        assert!(PALERMO.distance(PALERMO).abs() < 1e-9);
    }

    /// No place inside is missed by the ranges, but near the poles, where Redis misses some too.
    #[test]
    fn the_ranges_hold_all_places_inside() {
        let mut random = Random(42);
        let mut next = |below: f64| random.below(1_000_000) as f64 / 1e6 * below;
        for round in 0..rounds(3_000) {
            let center = Position {
                longitude: next(340.0) - 170.0,
                latitude: next(140.0) - 70.0,
            };
            let reach = [100.0, 5_000.0, 300_000.0, 900_000.0][round % 4];
            let shape = if round % 8 < 4 {
                Shape::Circle {
                    radius: next(reach),
                }
            } else {
                Shape::Box {
                    width: next(reach),
                    height: next(reach),
                }
            };
            let search = Search { center, shape };
            let ranges = search.scores();
            for _ in 0..30 {
                let near = Position {
                    longitude: center.longitude + next(reach / 40_000.0) - reach / 80_000.0,
                    latitude: (center.latitude + next(reach / 60_000.0) - reach / 120_000.0)
                        .clamp(-85.0, 85.0),
                };
                let score = near.score() as f64;
                let is_held = ranges
                    .iter()
                    .any(|(from, to)| (*from..*to).contains(&score));
                let is_inside = search.distance(Position::of_score(score)).is_some();
                assert!(is_held || !is_inside, "{search:?} misses {near:?}");
            }
        }
    }
}
