//! What the plan calls the input's elements and the classes: from the user, from the model, or from
//! the table that calibrates it.

use fusion_ir::Schema;
use fusion_ir::prefix::MAX_COLUMNS;
use fusion_ir::schema::check_names;
use fusion_table::Table;

use crate::Error;
use crate::import::Input;
use crate::setting::Setting;

/// Names that the user gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Of the input's elements.
    pub columns: Vec<String>,
    /// Of the classes.
    pub classes: Vec<String>,
}

/// The names for a network with these inputs and so many classes, which the model itself may have
/// names for. `table` is what it is calibrated on, with columns that are for something else.
///
/// # Errors
/// [`Error::Usage`] if the names that were given do not fit, or a table's do not and none were
/// given.
pub fn schema(
    given: &Names,
    inputs: &[Input],
    (classes, own): (usize, &[String]),
    table: Option<&Table>,
    apart: &[&str],
) -> Result<Schema, Error> {
    let elements = inputs.iter().map(Input::len).sum();
    let refuse = |setting: Setting, error| Error::Usage(format!("{setting}: {error}"));
    check_names(&given.classes, classes, "classes").map_err(|error| refuse(Setting::Classes, error))?;
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    if given.classes != own && sorted(&given.classes) == sorted(own) {
        return Err(Error::Usage(format!(
            "{}: the model itself has these names in another order, {}",
            Setting::Classes,
            own.join(",")
        )));
    }
    check_names(&given.columns, elements, "inputs").map_err(|error| refuse(Setting::Columns, error))?;
    let columns = match (given.columns.as_slice(), inputs, table) {
        (_, _, Some(_)) if elements > MAX_COLUMNS => {
            let why =
                format!("a table is for at most {MAX_COLUMNS} inputs, the model has {elements}: calibrate on .npy");
            return Err(Error::Usage(why));
        }
        ([_, ..], _, _) => given.columns.clone(),
        ([], [_, _, ..], table) => as_in(table, of_inputs(inputs, elements)),
        ([], _, Some(table)) => of_table(table, elements, apart)?,
        ([], _, None) => Vec::new(),
    };
    let classes = if given.classes.is_empty() { own } else { &given.classes };
    Ok(Schema { columns, classes: classes.to_vec(), prefix: None })
}

/// The names of a model's several inputs, with an index where one has several elements; none if
/// they are no names.
fn of_inputs(inputs: &[Input], elements: usize) -> Vec<String> {
    if elements > MAX_COLUMNS {
        return Vec::new();
    }
    let of_input = |input: &Input| match input.len() {
        1 => vec![input.name.clone()],
        n => (0..n).map(|index| format!("{}[{index}]", input.name)).collect(),
    };
    let names: Vec<String> = inputs.iter().flat_map(of_input).collect();
    if check_names(&names, elements, "inputs").is_ok() { names } else { Vec::new() }
}

/// The same names as the table writes them: exporters put underscores where a name has blanks.
fn as_in(table: Option<&Table>, names: Vec<String>) -> Vec<String> {
    let plain = |name: &str| name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect::<String>();
    let written = table.map(Table::names).unwrap_or_default();
    let as_written = |name: String| {
        let mut alike = written.iter().filter(|other| plain(other) == plain(&name));
        match (written.contains(&name), alike.next(), alike.next()) {
            (false, Some(only), None) => only.clone(),
            _ => name,
        }
    };
    names.into_iter().map(as_written).collect()
}

/// The names of a table's columns, all but those that are for something else.
fn of_table(table: &Table, elements: usize, apart: &[&str]) -> Result<Vec<String>, Error> {
    let names: Vec<String> = table.names().into_iter().filter(|name| !apart.contains(&name.as_str())).collect();
    match check_names(&names, elements, "inputs") {
        Ok(()) => Ok(names),
        Err(_) => {
            let (found, listed) = (names.len(), names.join(","));
            Err(Error::Usage(format!(
                "the table to calibrate on has {found} columns, the model {elements} inputs: say with {} which they are, in the model's \
                 order, out of {listed}",
                Setting::Columns
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use fusion_table::{File, Kind};

    use super::*;

    fn named(given: &[&str], inputs: &[(&str, &[usize])], header: &str) -> Result<Vec<String>, String> {
        let given = Names { columns: given.iter().map(|name| (*name).into()).collect(), classes: Vec::new() };
        let input = |(name, shape): &(&str, &[usize])| Input { name: (*name).into(), shape: shape.to_vec() };
        let inputs: Vec<Input> = inputs.iter().map(input).collect();
        let file = File::of(Kind::Csv, format!("{header}\n").into()).unwrap();
        let table = file.table().filter(|_| !header.is_empty());
        schema(&given, &inputs, (2, &[]), table, &["y"]).map(|schema| schema.columns).map_err(|error| error.to_string())
    }

    #[test]
    fn names_come_from_the_user_the_inputs_or_the_table() {
        assert_eq!(named(&["a", "b"], &[("X", &[1, 2])], "b,a,id").unwrap(), ["a", "b"]);
        assert_eq!(named(&[], &[("age", &[1, 1]), ("v", &[1, 2])], "x").unwrap(), ["age", "v[0]", "v[1]"]);
        assert_eq!(named(&[], &[("X", &[1, 2])], "b,y,a").unwrap(), ["b", "a"]);
        let inputs: [(&str, &[usize]); 2] = [("mean_radius", &[1, 1]), ("age", &[1, 1])];
        assert_eq!(named(&[], &inputs, "age,mean radius,mean").unwrap(), ["mean radius", "age"]);
        assert_eq!(named(&[], &inputs, "mean radius,mean-radius,age").unwrap(), ["mean_radius", "age"]);
        assert_eq!(named(&[], &inputs, "mean radius,mean_radius,age").unwrap(), ["mean_radius", "age"]);
        let error = named(&[], &[("X", &[1, 2])], "id,b,a,y").unwrap_err();
        assert!(error.contains("3 columns, the model 2 inputs") && error.contains("id,b,a"), "{error}");
        let error = named(&["a"], &[("X", &[1, 2])], "b,a").unwrap_err();
        assert_eq!(error, "`names.columns`: 1 names for 2 inputs");
    }
}
