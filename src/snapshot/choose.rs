//! Which tables are read.
//!
//! Pure. Everything that stands in the way is found before anything is read, and told all at once.

use super::model::{Relation, RelationKind};
use crate::filter::TableFilter;
use crate::patterns::{Pattern, Patterns};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The tables that are to be read.
    pub tables: &'a Patterns,
    /// Those of them that are not.
    pub excluded: &'a Patterns,
    /// Which tables' changes are taken at all.
    pub filter: &'a TableFilter,
    /// The OIDs of those that have been read: nothing stands in their way.
    pub done: &'a [u32],
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The tables to be read, the largest first: it takes longest.
    pub tables: Vec<Relation>,
    /// What a pattern matches as well, and has no rows of its own to read.
    pub left_out: Vec<Relation>,
    /// Patterns that match no table.
    pub unmatched: Vec<String>,
}

/// Why tables cannot be read as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Nothing has such a name.
    #[error(
        "{0} matches no table: check the spelling, write schema.table for one that is not in schema public, and *.* for all"
    )]
    NoTable(String),
    /// It is named, and no table.
    #[error("{relation} is {kind}, which has no rows of its own to read: name the tables behind it", kind = relation.kind)]
    NotATable {
        /// What is named.
        relation: Box<Relation>,
    },
    /// The role may not read it.
    #[error(
        "the role may not read {0}: GRANT USAGE ON SCHEMA, and SELECT ON TABLE, to it, or exclude the table"
    )]
    NotReadable(String),
    /// The role sees only some of it.
    #[error(
        "row-level security hides rows of {0} from the role: take one with BYPASSRLS, or exclude the table"
    )]
    HidesRows(String),
}

/// Chooses from all relations of the source.
///
/// # Errors
/// All obstacles, if there is any but patterns that match nothing.
pub fn choose(relations: &[Relation], wanted: Wanted<'_>) -> Result<Chosen, Vec<Obstacle>> {
    let (mut obstacles, mut unmatched) = (Vec::new(), Vec::new());
    for pattern in wanted.tables.iter() {
        let mut matching = relations
            .iter()
            .filter(|relation| is_matched(pattern, relation))
            .peekable();
        if matching.peek().is_none() {
            unmatched.push(pattern.to_string());
        }
        if pattern.is_one_table() {
            obstacles.extend(
                matching
                    .filter(|relation| {
                        !has_rows(relation.kind) && pattern.matches(&relation.schema, &relation.name)
                    })
                    .map(|relation| Obstacle::NotATable {
                        relation: Box::new(relation.clone()),
                    }),
            );
        }
    }
    let is_in = |patterns: &Patterns, relation: &Relation| {
        patterns.iter().any(|pattern| is_matched(pattern, relation))
    };
    let is_taken = |relation: &&Relation| {
        let root = relation.root.as_ref();
        is_in(wanted.tables, relation)
            && !is_in(wanted.excluded, relation)
            && wanted.filter.takes(
                (&relation.schema, &relation.name),
                root.map(|(schema, table)| (schema.as_str(), table.as_str())),
            )
    };
    let taken = relations.iter().filter(is_taken).cloned();
    let (mut tables, others): (Vec<Relation>, Vec<Relation>) =
        taken.partition(|relation| relation.kind == RelationKind::Table);
    let is_done = |table: &Relation| wanted.done.contains(&table.oid);
    let unreadable = tables
        .iter()
        .filter(|table| !table.is_readable && !is_done(table));
    obstacles.extend(unreadable.map(|table| Obstacle::NotReadable(table.to_string())));
    let hiding = tables
        .iter()
        .filter(|table| table.is_readable && table.hides_rows && !is_done(table));
    obstacles.extend(hiding.map(|table| Obstacle::HidesRows(table.to_string())));
    if !obstacles.is_empty() {
        obstacles.extend(unmatched.into_iter().map(Obstacle::NoTable));
        return Err(obstacles);
    }
    tables.sort_by_key(|table| std::cmp::Reverse(table.bytes));
    Ok(Chosen {
        tables,
        left_out: others
            .into_iter()
            .filter(|relation| !has_rows(relation.kind))
            .collect(),
        unmatched,
    })
}

/// Whether it has rows, be it in its partitions.
const fn has_rows(kind: RelationKind) -> bool {
    matches!(kind, RelationKind::Table | RelationKind::Partitioned)
}

/// By its own name, or by that of the root it is a partition of.
fn is_matched(pattern: &Pattern, relation: &Relation) -> bool {
    let of_root = |(schema, table): &(String, String)| pattern.matches(schema, table);
    pattern.matches(&relation.schema, &relation.name) || relation.root.as_ref().is_some_and(of_root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(name: &str, kind: RelationKind, bytes: u64) -> Relation {
        let (schema, name) = name.split_once('.').unwrap();
        Relation {
            kind,
            bytes,
            is_readable: name != "secret",
            hides_rows: name == "hidden",
            ..Relation::sample(schema, name)
        }
    }

    fn relations() -> Vec<Relation> {
        let partition = |name: &str, kind| Relation {
            root: Some(("public".to_owned(), "parted".to_owned())),
            ..relation(name, kind, 5)
        };
        vec![
            relation("public.small", RelationKind::Table, 1),
            relation("public.large", RelationKind::Table, 10),
            relation("public.view", RelationKind::View, 0),
            relation("public.parted", RelationKind::Partitioned, 0),
            partition("parts.one", RelationKind::Table),
            partition("parts.far", RelationKind::Foreign),
            relation("other.secret", RelationKind::Table, 2),
            relation("other.hidden", RelationKind::Table, 3),
        ]
    }

    fn chosen(tables: &str, excluded: &str, include: &str) -> Result<Vec<String>, String> {
        let filter = TableFilter {
            include: include.parse().unwrap(),
            exclude: Patterns::default(),
        };
        let wanted = Wanted {
            tables: &Patterns::separated_by_blanks(tables).unwrap(),
            excluded: &Patterns::separated_by_blanks(excluded).unwrap(),
            filter: &filter,
            done: &[],
        };
        let names = |relations: Vec<Relation>| relations.iter().map(ToString::to_string).collect();
        choose(&relations(), wanted)
            .map(|chosen| names(chosen.tables))
            .map_err(|obstacles| {
                let texts: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
                texts.join("\n")
            })
    }

    #[test]
    fn patterns_choose_tables_the_largest_first() {
        let names = |tables: &str, excluded: &str, include: &str| chosen(tables, excluded, include).unwrap();
        assert_eq!(names("*", "", ""), ["public.large", "parts.one", "public.small"]);
        assert_eq!(names("small large", "", ""), ["public.large", "public.small"]);
        assert_eq!(names("parts.*", "", ""), ["parts.one"]);
        assert_eq!(names("parted", "", ""), ["parts.one"]);
        assert_eq!(
            names("*.*", "other.* parted", ""),
            ["public.large", "public.small"]
        );
        assert_eq!(names("*", "", "small"), ["public.small"]);
    }

    #[test]
    fn what_has_no_rows_of_its_own_is_left_out_where_it_is_not_named() {
        let all = Patterns::separated_by_blanks("*").unwrap();
        let (excluded, filter) = (Patterns::default(), TableFilter::default());
        let wanted = Wanted {
            tables: &all,
            excluded: &excluded,
            filter: &filter,
            done: &[],
        };
        let left_out = choose(&relations(), wanted).unwrap().left_out;
        let names: Vec<String> = left_out.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["public.view", "parts.far"]);
    }

    #[test]
    fn all_obstacles_are_told() {
        let told = chosen("smal view *.* nowhere.* parts.far", "", "").unwrap_err();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 6, "{told}");
        let begins = [
            "public.view is a view",
            "parts.far is a foreign table",
            "the role may not read other.secret",
            "row-level security hides rows of other.hidden",
            "public.smal matches no table",
            "nowhere.* matches no table",
        ];
        for (line, begins) in lines.iter().zip(begins) {
            assert!(line.starts_with(begins), "{told}");
        }
        assert!(chosen("*.*", "other.*", "").is_ok());
    }
}
