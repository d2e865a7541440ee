//! Places: members of a sorted set whose scores are geohashes.

use super::argument::{self, KEY, after, block, key, multiple, oneof, optional, since, word};
use super::zset::members::{Options, set_all};
use super::{Argument, Arity::*, Command, Context, Flags, Group, KeySpec, parse};
use crate::engine::encoding_limits;
use crate::error::CommandError;
use crate::keyspace::entry::ValueType;
use crate::resp::{Args, Reply};
use crate::value::geo::{LATITUDE_MAX, LONGITUDE_MAX, Position, Search, Shape};
use crate::value::number;
use crate::value::zset::{Bound, Zset, ZsetRef};

const MEMBER: Argument = Argument::new("member", "string");
const LONGITUDE: Argument = Argument::new("longitude", "double");
const LATITUDE: Argument = Argument::new("latitude", "double");
const RADIUS: Argument = Argument::new("radius", "double");
const UNIT: Argument = oneof(
    "unit",
    &[
        word("m", "M"),
        word("km", "KM"),
        word("ft", "FT"),
        word("mi", "MI"),
    ],
);
const WITH_COORD: Argument = optional(word("withcoord", "WITHCOORD"));
const WITH_DIST: Argument = optional(word("withdist", "WITHDIST"));
const WITH_HASH: Argument = optional(word("withhash", "WITHHASH"));
const COUNT: Argument = after("COUNT", Argument::new("count", "integer"));
const ANY: Argument = optional(word("any", "ANY"));
const COUNTED: Argument = optional(block("count", &[COUNT, ANY]));
/// ANY came later than GEORADIUS.
const COUNTED_LATER: Argument = optional(block("count", &[COUNT, since("6.2.0", ANY)]));
const ORDER: Argument = optional(oneof("order", &[word("asc", "ASC"), word("desc", "DESC")]));
const STORE: Argument = optional(after("STORE", key("key", 1)));
const STORE_DIST: Argument = optional(after("STOREDIST", key("key", 2)));
const FROM: Argument = oneof(
    "from",
    &[
        after("FROMMEMBER", MEMBER),
        after(
            "FROMLONLAT",
            block("longitude_latitude", &[LONGITUDE, LATITUDE]),
        ),
    ],
);
const BY: Argument = oneof(
    "by",
    &[
        block("circle", &[after("BYRADIUS", RADIUS), UNIT]),
        block(
            "box",
            &[
                after("BYBOX", Argument::new("width", "double")),
                Argument::new("height", "double"),
                UNIT,
            ],
        ),
    ],
);

const READ: &[KeySpec] = &[KeySpec::at(1, &["RO", "access"])];
const IN_AREA: &str = "O(N+log(M)): members in the cells around the area, and inside it.";

/// The rows of this family.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "geoadd",
        arity: AtLeast(5),
        keys: &[KeySpec::at(1, &["RW", "update"])],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run: geoadd,
        complexity: "O(log(N)) for each member.",
        summary: "Sets the places of members.",
        arguments: &[
            KEY,
            since(
                "6.2.0",
                optional(oneof("condition", &[word("nx", "NX"), word("xx", "XX")])),
            ),
            since("6.2.0", optional(word("change", "CH"))),
            multiple(block(
                "longitude_latitude_member",
                &[LONGITUDE, LATITUDE, MEMBER],
            )),
        ],
        ..ROW
    },
    Command {
        name: "geopos",
        arity: AtLeast(2),
        run: geopos,
        complexity: "O(1) for each member.",
        summary: "Returns the places of members.",
        arguments: &[KEY, multiple(MEMBER)],
        ..ROW
    },
    Command {
        name: "geohash",
        arity: AtLeast(2),
        run: geohash,
        complexity: "O(1) for each member.",
        summary: "Returns the places of members as geohashes.",
        arguments: &[KEY, multiple(MEMBER)],
        ..ROW
    },
    Command {
        name: "geodist",
        arity: AtLeast(4),
        run: geodist,
        summary: "Returns the distance between two members.",
        arguments: &[
            KEY,
            Argument::new("member1", "string"),
            Argument::new("member2", "string"),
            argument::flagged(&["optional"], UNIT),
        ],
        ..ROW
    },
    Command {
        name: "georadius",
        deprecated: Some((
            "6.2.0",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
        )),
        arity: AtLeast(6),
        keys: &[
            KeySpec::at(1, &["RO", "access"]),
            KeySpec::behind("STORE", 6, &["OW", "update", "incomplete"]),
            KeySpec::behind("STOREDIST", 6, &["OW", "update", "incomplete"]),
        ],
        flags: STORING,
        run: |cx, args| radius(cx, args, Kind::Around { stores: true }),
        complexity: IN_AREA,
        summary: "Returns or stores the members within a distance of a place. GEOSEARCH does the same.",
        arguments: &[
            KEY,
            LONGITUDE,
            LATITUDE,
            RADIUS,
            UNIT,
            WITH_COORD,
            WITH_DIST,
            WITH_HASH,
            COUNTED_LATER,
            ORDER,
            STORE,
            STORE_DIST,
        ],
        ..ROW
    },
    Command {
        name: "georadius_ro",
        deprecated: Some(("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument")),
        arity: AtLeast(6),
        run: |cx, args| radius(cx, args, Kind::Around { stores: false }),
        since: "3.2.10",
        complexity: IN_AREA,
        summary: "Returns the members within a distance of a place. GEOSEARCH does the same.",
        arguments: &[
            KEY,
            LONGITUDE,
            LATITUDE,
            RADIUS,
            UNIT,
            WITH_COORD,
            WITH_DIST,
            WITH_HASH,
            COUNTED_LATER,
            ORDER,
        ],
        ..ROW
    },
    Command {
        name: "georadiusbymember",
        deprecated: Some((
            "6.2.0",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        )),
        arity: AtLeast(5),
        keys: &[
            KeySpec::at(1, &["RO", "access"]),
            KeySpec::behind("STORE", 5, &["OW", "update", "incomplete"]),
            KeySpec::behind("STOREDIST", 5, &["OW", "update", "incomplete"]),
        ],
        flags: STORING,
        run: |cx, args| radius(cx, args, Kind::AroundMember { stores: true }),
        complexity: IN_AREA,
        summary: "Returns or stores the members within a distance of another one. GEOSEARCH does the same.",
        arguments: &[
            KEY, MEMBER, RADIUS, UNIT, WITH_COORD, WITH_DIST, WITH_HASH, COUNTED, ORDER, STORE,
            STORE_DIST,
        ],
        ..ROW
    },
    Command {
        name: "georadiusbymember_ro",
        deprecated: Some((
            "6.2.0",
            "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
        )),
        arity: AtLeast(5),
        run: |cx, args| radius(cx, args, Kind::AroundMember { stores: false }),
        since: "3.2.10",
        complexity: IN_AREA,
        summary: "Returns the members within a distance of another one. GEOSEARCH does the same.",
        arguments: &[
            KEY, MEMBER, RADIUS, UNIT, WITH_COORD, WITH_DIST, WITH_HASH, COUNTED, ORDER,
        ],
        ..ROW
    },
    Command {
        name: "geosearch",
        arity: AtLeast(7),
        run: |cx, args| radius(cx, args, Kind::Search),
        since: "6.2.0",
        complexity: IN_AREA,
        summary: "Returns the members inside a circle or a box.",
        arguments: &[
            KEY, FROM, BY, ORDER, COUNTED, WITH_COORD, WITH_DIST, WITH_HASH,
        ],
        ..ROW
    },
    Command {
        name: "geosearchstore",
        arity: AtLeast(8),
        keys: &[
            KeySpec::at(1, &["OW", "update"]),
            KeySpec::at(2, &["RO", "access"]),
        ],
        flags: Flags::WRITE.and(Flags::DENYOOM),
        run: |cx, args| radius(cx, args, Kind::SearchStore),
        since: "6.2.0",
        complexity: IN_AREA,
        summary: "Stores the members inside a circle or a box.",
        arguments: &[
            key("destination", 0),
            key("source", 1),
            FROM,
            BY,
            ORDER,
            COUNTED,
            optional(word("storedist", "STOREDIST")),
        ],
        ..ROW
    },
];

const STORING: Flags = Flags::WRITE.and(Flags::DENYOOM).and(Flags::MOVABLE_KEYS);

const ROW: Command = Command {
    group: Group::Geo,
    keys: READ,
    flags: Flags::READONLY,
    since: "3.2.0",
    ..Command::BLANK
};

/// The metres of a unit.
fn unit(text: &[u8]) -> Result<f64, CommandError> {
    match text.to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(CommandError::text(
            "ERR unsupported unit provided. please use M, KM, FT, MI",
        )),
    }
}

fn position(longitude: &[u8], latitude: &[u8]) -> Result<Position, CommandError> {
    let parse = |text| number::parse_f64(text).ok_or(CommandError::NotFloat);
    let (longitude, latitude) = (parse(longitude)?, parse(latitude)?);
    if longitude.abs() > LONGITUDE_MAX || latitude.abs() > LATITUDE_MAX {
        return Err(CommandError::message(format!(
            "ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"
        )));
    }
    Ok(Position {
        longitude,
        latitude,
    })
}

fn place_of(zset: ZsetRef<'_>, member: &[u8]) -> Option<Position> {
    zset.score(member).map(Position::of_score)
}

fn geoadd(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let (mut options, mut from) = (Options::default(), 2);
    while args
        .get(from)
        .is_some_and(|word| options.take_of_geoadd(word))
    {
        from += 1;
    }
    let places = args.len() - from;
    if places == 0 || !places.is_multiple_of(3) || options.contradict() {
        return Err(CommandError::Syntax);
    }
    let triples = (from..args.len()).step_by(3);
    let pairs = triples.map(|at| {
        let place = position(args.at(at), args.at(at + 1))?;
        Ok((place.score() as f64, args.at(at + 2)))
    });
    let pairs = pairs.collect::<Result<Vec<_>, CommandError>>()?;
    set_all(cx, args.at(1), options, pairs.into_iter())
}

fn geopos(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let zset = cx.keys.zset(args.at(1))?;
    cx.reply.array(args.len() - 2);
    for member in args.from(2) {
        match zset.and_then(|zset| place_of(zset, member)) {
            Some(place) => reply_with_place(cx.reply, place),
            None => cx.reply.nil_array(),
        }
    }
    Ok(())
}

fn reply_with_place(reply: &mut Reply, place: Position) {
    reply.array(2);
    reply.double(place.longitude);
    reply.double(place.latitude);
}

fn geohash(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let zset = cx.keys.zset(args.at(1))?;
    cx.reply.array(args.len() - 2);
    for member in args.from(2) {
        match zset.and_then(|zset| place_of(zset, member)) {
            Some(place) => cx.reply.bulk(&place.geohash()),
            None => cx.reply.nil(),
        }
    }
    Ok(())
}

fn geodist(cx: &mut Context<'_>, args: &Args<'_>) -> Result<(), CommandError> {
    let meters = match args.get(4) {
        Some(text) if args.len() == 5 => unit(text)?,
        Some(_) => return Err(CommandError::Syntax),
        None => 1.0,
    };
    let zset = cx.keys.zset(args.at(1))?;
    let places = zset.and_then(|zset| {
        let (from, to) = (place_of(zset, args.at(2)), place_of(zset, args.at(3)));
        from.zip(to)
    });
    match places {
        Some((from, to)) => reply_with_distance(cx.reply, from.distance(to) / meters),
        None => cx.reply.nil(),
    }
    Ok(())
}

fn reply_with_distance(reply: &mut Reply, distance: f64) {
    reply.text(&format!("{distance:.4}"));
}

/// Which of the commands it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Around { stores: bool },
    AroundMember { stores: bool },
    Search,
    SearchStore,
}

/// A request for the members in an area, read.
struct Request {
    center: Option<Position>,
    /// In the unit, and how many metres that has.
    shape: Option<(Shape, f64)>,
    with_dist: bool,
    with_hash: bool,
    with_coord: bool,
    any: bool,
    /// Whether the farthest come first; `None`: in any order.
    farthest_first: Option<bool>,
    count: usize,
    /// The argument that is the key to store the result at.
    store: Option<usize>,
    store_dist: bool,
}

fn radius_and_unit(radius: &[u8], unit_text: &[u8]) -> Result<(Shape, f64), CommandError> {
    let radius = number::parse_f64(radius).ok_or(CommandError::text("ERR need numeric radius"))?;
    if radius < 0.0 {
        return Err(CommandError::text("ERR radius cannot be negative"));
    }
    Ok((Shape::Circle { radius }, unit(unit_text)?))
}

fn box_and_unit(args: &Args<'_>, at: usize) -> Result<(Shape, f64), CommandError> {
    let side = |at, error| number::parse_f64(args.at(at)).ok_or(CommandError::text(error));
    let width = side(at, "ERR need numeric width")?;
    let height = side(at + 1, "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::text("ERR height or width cannot be negative"));
    }
    Ok((Shape::Box { width, height }, unit(args.at(at + 2))?))
}

impl Request {
    /// Reads the request; `zset` is what is searched.
    fn parse(args: &Args<'_>, kind: Kind, zset: Option<ZsetRef<'_>>) -> Result<Self, CommandError> {
        let mut request = Self {
            center: None,
            shape: None,
            with_dist: false,
            with_hash: false,
            with_coord: false,
            any: false,
            farthest_first: None,
            count: 0,
            store: (kind == Kind::SearchStore).then_some(1),
            store_dist: false,
        };
        let from = match kind {
            Kind::Around { .. } => {
                request.center = Some(position(args.at(2), args.at(3))?);
                request.shape = Some(radius_and_unit(args.at(4), args.at(5))?);
                6
            }
            Kind::AroundMember { .. } => {
                if let Some(zset) = zset {
                    request.center = Some(center_at(zset, args.at(2))?);
                    request.shape = Some(radius_and_unit(args.at(3), args.at(4))?);
                }
                5
            }
            Kind::Search => 2,
            Kind::SearchStore => 3,
        };
        let has_center = request.parse_options(args, (from, kind), zset)?;
        request.check(args, kind, has_center)?;
        Ok(request)
    }

    /// Gives whether a centre was named.
    fn parse_options(
        &mut self,
        args: &Args<'_>,
        (from, kind): (usize, Kind),
        zset: Option<ZsetRef<'_>>,
    ) -> Result<bool, CommandError> {
        let searches = matches!(kind, Kind::Search | Kind::SearchStore);
        let may_store = matches!(
            kind,
            Kind::Around { stores: true } | Kind::AroundMember { stores: true }
        );
        let (mut from_member, mut from_place) = (false, false);
        let mut at = from;
        while at < args.len() {
            // How many more arguments there are.
            let more = args.len() - at - 1;
            let is_circle = matches!(self.shape, Some((Shape::Circle { .. }, _)));
            let is_box = matches!(self.shape, Some((Shape::Box { .. }, _)));
            let taken = match args.at(at).to_ascii_uppercase().as_slice() {
                b"WITHDIST" => self.flag(|request| &mut request.with_dist),
                b"WITHHASH" => self.flag(|request| &mut request.with_hash),
                b"WITHCOORD" => self.flag(|request| &mut request.with_coord),
                b"ANY" => self.flag(|request| &mut request.any),
                b"ASC" => {
                    self.farthest_first = Some(false);
                    0
                }
                b"DESC" => {
                    self.farthest_first = Some(true);
                    0
                }
                b"COUNT" if more >= 1 => {
                    let count = parse::integer(args.at(at + 1))?;
                    let count = usize::try_from(count).ok().filter(|count| *count > 0);
                    self.count = count.ok_or(CommandError::text("ERR COUNT must be > 0"))?;
                    1
                }
                word @ (b"STORE" | b"STOREDIST") if may_store && more >= 1 => {
                    self.store = Some(at + 1);
                    self.store_dist = word == b"STOREDIST";
                    1
                }
                b"FROMMEMBER" if searches && more >= 1 && !from_place => {
                    if let Some(zset) = zset {
                        self.center = Some(center_at(zset, args.at(at + 1))?);
                    }
                    from_member = true;
                    1
                }
                b"FROMLONLAT" if searches && more >= 2 && !from_member => {
                    self.center = Some(position(args.at(at + 1), args.at(at + 2))?);
                    from_place = true;
                    2
                }
                b"BYRADIUS" if searches && more >= 2 && !is_box => {
                    self.shape = Some(radius_and_unit(args.at(at + 1), args.at(at + 2))?);
                    2
                }
                b"BYBOX" if searches && more >= 3 && !is_circle => {
                    self.shape = Some(box_and_unit(args, at + 1)?);
                    3
                }
                b"STOREDIST" if kind == Kind::SearchStore => {
                    self.flag(|request| &mut request.store_dist)
                }
                _ => return Err(CommandError::Syntax),
            };
            at += 1 + taken;
        }
        Ok(from_member || from_place)
    }

    /// Sets an option that takes no argument.
    fn flag(&mut self, option: impl FnOnce(&mut Self) -> &mut bool) -> usize {
        *option(self) = true;
        0
    }

    fn check(&self, args: &Args<'_>, kind: Kind, has_center: bool) -> Result<(), CommandError> {
        if self.store.is_some() && (self.with_dist || self.with_hash || self.with_coord) {
            return Err(CommandError::message(format!(
                "ERR {} is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
                match kind {
                    Kind::SearchStore => "GEOSEARCHSTORE",
                    _ => "STORE option in GEORADIUS",
                }
            )));
        }
        let searches = matches!(kind, Kind::Search | Kind::SearchStore);
        if searches && !has_center {
            return Err(CommandError::with_word(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ",
                args.at(0),
                "",
            ));
        }
        if searches && self.shape.is_none() {
            return Err(CommandError::with_word(
                "ERR exactly one of BYRADIUS and BYBOX can be specified for ",
                args.at(0),
                "",
            ));
        }
        if self.any && self.count == 0 {
            return Err(CommandError::text(
                "ERR the ANY argument requires COUNT argument",
            ));
        }
        Ok(())
    }

    /// The members in the area, as many and in the order that is wanted. Distances are in the unit.
    fn find(&self, zset: ZsetRef<'_>) -> Vec<Found> {
        let (Some(center), Some((shape, meters))) = (self.center, self.shape) else {
            return Vec::new();
        };
        let search = Search {
            center,
            shape: shape.scaled(meters),
        };
        let limit = if self.any { self.count } else { usize::MAX };
        let mut found = Vec::new();
        for (from, to) in search.scores() {
            let ranks = zset.score_ranks(Bound::Including(from), Bound::Excluding(to));
            for (member, score) in zset.range(ranks, false) {
                if found.len() >= limit {
                    break;
                }
                let place = Position::of_score(score);
                if let Some(distance) = search.distance(place) {
                    found.push(Found {
                        member: member.to_vec(),
                        score,
                        place,
                        distance,
                    });
                }
            }
        }
        // Without an order the nearest are counted.
        let by_count = (self.count > 0 && !self.any).then_some(false);
        match self.farthest_first.or(by_count) {
            Some(true) => found.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
            Some(false) => found.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
            None => {}
        }
        if self.count > 0 {
            found.truncate(self.count);
        }
        found.iter_mut().for_each(|found| found.distance /= meters);
        found
    }
}

fn center_at(zset: ZsetRef<'_>, member: &[u8]) -> Result<Position, CommandError> {
    place_of(zset, member).ok_or(CommandError::text(
        "ERR could not decode requested zset member",
    ))
}

/// A member in the area.
struct Found {
    member: Vec<u8>,
    score: f64,
    place: Position,
    distance: f64,
}

fn radius(cx: &mut Context<'_>, args: &Args<'_>, kind: Kind) -> Result<(), CommandError> {
    let source = if kind == Kind::SearchStore { 2 } else { 1 };
    let zset = cx.keys.zset(args.at(source))?;
    let request = Request::parse(args, kind, zset)?;
    let found = zset.map_or_else(Vec::new, |zset| request.find(zset));
    if let Some(store) = request.store {
        let score = |found: &Found| match request.store_dist {
            true => found.distance,
            false => found.score,
        };
        let members = found.iter().map(|f| (f.member.clone(), score(f)));
        let members: Vec<_> = members.collect();
        let stored = Zset::of_members(&members, encoding_limits::zset(cx.config));
        cx.keys.count_further((members.len() as i64 - 1).max(0));
        cx.keys.replace(args.at(store), ValueType::Zset, stored);
        cx.reply.count(members.len());
        return Ok(());
    }
    let Request {
        with_dist,
        with_hash,
        with_coord,
        ..
    } = request;
    let parts = [with_dist, with_hash, with_coord].map(usize::from);
    let parts: usize = parts.iter().sum();
    cx.reply.array(found.len());
    for found in &found {
        if parts > 0 {
            cx.reply.array(parts + 1);
        }
        cx.reply.bulk(&found.member);
        if with_dist {
            reply_with_distance(cx.reply, found.distance);
        }
        if with_hash {
            cx.reply.int(found.score as i64);
        }
        if with_coord {
            reply_with_place(cx.reply, found.place);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::script;

    script!(places_at_the_end_of_the_earth_are_found, |db| {
        let corners = "180 85.05112878 ne -180 85.05112878 nw 180 -85.05112878 se -180 -85.05112878 sw \
                       180 0 e -180 0 w 0 85.05112878 n 0 -85.05112878 s";
        db.run(&format!("GEOADD g {corners}")).int(8);
        for name in ["ne", "nw", "se", "sw", "e", "w", "n", "s"] {
            for shape in [
                "BYRADIUS 0 m",
                "BYRADIUS 1 km",
                "BYBOX 1 1 m",
                "BYBOX 0 0 m",
            ] {
                db.run(&format!("GEOSEARCH g FROMMEMBER {name} {shape}"))
                    .bulks(&[name]);
            }
        }
        db.run("GEORADIUS g 180 85.05112878 1 km").bulks(&["ne"]);
        db.run("GEORADIUS g 180 0 10 km").bulks(&["e"]);
    });

    script!(places_are_set_and_found, |db| {
        db.run("GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania")
            .int(2);
        db.run("ZSCORE g Palermo").bulk("3479099956230698");
        db.run("GEODIST g Palermo Catania").bulk("166274.1516");
        db.run("GEODIST g Palermo Catania km").bulk("166.2742");
        db.run("GEODIST g Palermo none").nil();
        db.run("GEOHASH g Palermo none")
            .is("*2\r\n$11\r\nsqc8b49rny0\r\n$-1\r\n");
        db.run("GEOPOS g Palermo none")
            .is("*2\r\n*2\r\n$18\r\n13.361389338970184\r\n$16\r\n38.1155563954963\r\n*-1\r\n");
        db.run("GEORADIUS g 15 37 200 km WITHDIST").is(
            "*2\r\n*2\r\n$7\r\nPalermo\r\n$8\r\n190.4424\r\n*2\r\n$7\r\nCatania\r\n$7\r\n56.4413\r\n",
        );
        db.run("GEOSEARCH g FROMLONLAT 15 37 BYBOX 400 400 km ASC")
            .bulks(&["Catania", "Palermo"]);
        db.run("GEOSEARCH g FROMMEMBER Palermo BYRADIUS 10 km")
            .bulks(&["Palermo"]);
        db.run("GEORADIUSBYMEMBER g Palermo 200 km COUNT 1 DESC")
            .bulks(&["Catania"]);
        db.run("GEOSEARCHSTORE to g FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST")
            .int(2);
        db.run("ZRANGE to 0 -1").bulks(&["Catania", "Palermo"]);
        db.run("GEORADIUS g 15 37 1 km STORE to").int(0);
        db.run("EXISTS to").int(0);
        db.run("GEOADD g NX 1 1 Palermo").int(0);
        db.run("GEOADD g XX CH 1 1 Palermo").int(1);
    });

    script!(the_last_key_to_store_at_counts, |db| {
        db.run("GEOADD g 1 1 a").int(1);
        db.run("GEORADIUS g 1 1 1 km STORE x STORE y").int(1);
        db.run("EXISTS x y").int(1);
        db.run("GEORADIUS g 1 1 1 km STOREDIST STORE STORE z")
            .int(1);
        db.run("EXISTS STORE z").int(1);
        db.run("GEORADIUSBYMEMBER g a 1 km STOREDIST p STORE STOREDIST")
            .int(1);
        db.run("EXISTS STOREDIST").int(1);
    });

    script!(what_is_no_place_is_refused, |db| {
        db.run("GEOADD g 181 0 a")
            .error("ERR invalid longitude,latitude pair 181.000000,0.000000");
        db.run("GEOADD g 1 x a")
            .error("ERR value is not a valid float");
        db.run("GEOADD g 1 1")
            .error("ERR wrong number of arguments for 'geoadd' command");
        db.run("GEOADD g NX XX 1 1 a").error("ERR syntax error");
        db.run("GEOADD g 1 1 a").int(1);
        db.run("GEORADIUS g 1 1 -1 km")
            .error("ERR radius cannot be negative");
        db.run("GEORADIUS g 1 1 1 parsec")
            .error("ERR unsupported unit provided. please use M, KM, FT, MI");
        db.run("GEORADIUS g 1 1 1 km ANY")
            .error("ERR the ANY argument requires COUNT argument");
        db.run("GEORADIUS g 1 1 1 km WITHDIST STORE to").error(
            "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        );
        db.run("GEORADIUSBYMEMBER g none 1 km")
            .error("ERR could not decode requested zset member");
        db.run("geosearch g BYRADIUS 1 km ASC COUNT 1")
            .error("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for geosearch");
        db.run("GEOSEARCH g FROMLONLAT 1 1 ASC COUNT 1")
            .error("ERR exactly one of BYRADIUS and BYBOX can be specified for GEOSEARCH");
        db.run("SET s text").ok();
        db.run("GEOPOS s a")
            .error("WRONGTYPE Operation against a key holding the wrong kind of value");
    });
}
