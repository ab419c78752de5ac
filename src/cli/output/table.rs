//! Columns as Go's `text/tabwriter` makes them with podman's settings (minimum width 12, padding
//! 2, blanks): a column's cells are those of neighbouring lines that go on after it.

/// Lines whose cells are separated by tabs, aligned. Each line is ended.
///
/// Only cells that a tab ends take part in a column; trailing text of a line is left as it is.
pub fn align(text: &str, min_width: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|l| vec![0; l.len()]).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut at = 0;
        while at < lines.len() {
            // A block is a run of lines that have a tab-ended cell here.
            let end = (at..lines.len())
                .find(|&n| lines[n].len() <= column + 1)
                .unwrap_or(lines.len());
            let widest = lines[at..end]
                .iter()
                .map(|l| width(l[column]))
                .max()
                .unwrap_or(0);
            // An all-empty column vanishes, as with Go's DiscardEmptyColumns off only padding stays.
            let total = (widest + padding).max(min_width);
            for line in &mut widths[at..end] {
                line[column] = total;
            }
            at = end.max(at) + 1;
        }
    }
    let mut result = String::with_capacity(text.len() * 2);
    for (line, widths) in lines.iter().zip(&widths) {
        for (n, cell) in line.iter().enumerate() {
            result.push_str(cell);
            if n + 1 < line.len() {
                let fill = widths[n].saturating_sub(width(cell));
                result.extend(std::iter::repeat_n(' ', fill));
            }
        }
        result.push('\n');
    }
    result
}

/// Columns that a cell takes: Go counts code points.
fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_the_last_cell_is_not_padded() {
        assert_eq!(
            align("NAME\tSIZE\na-long-name-of-it\t1\n", 12, 2),
            "NAME               SIZE\na-long-name-of-it  1\n"
        );
        assert_eq!(
            align("A\tB\n1\t2\n", 12, 2),
            "A           B\n1           2\n"
        );
    }

    #[test]
    fn a_line_without_the_cell_starts_a_new_block() {
        assert_eq!(
            align("a\tb\nplain\nlonger-than-twelve\tb\n", 4, 1),
            "a   b\nplain\nlonger-than-twelve b\n"
        );
    }
}
