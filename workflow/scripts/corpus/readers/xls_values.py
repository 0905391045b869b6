"""Values of an .xls workbook, as a process of its own: xls_values.py WORKBOOK > PICKLE

calamine believes the sizes that a damaged file states, and a failed allocation ends the process.
The pickle holds an error as a text, or of each worksheet its name, whether it is hidden, its merged
cells, its first row and column, and its rows.
"""

import pickle
import resource
import sys

import python_calamine as calamine

# An .xls has at most 65,536 rows of 256 columns in a sheet, of 32 bytes and a text each.
MEMORY = 4 * 2**30


def worksheets(path: str) -> list[tuple]:
    """What is in the worksheets of a workbook.

    Raises:
        CalamineError: it is damaged, no workbook, or has a password.
    """
    # not by path: what the suffix says goes before the content there
    with open(path, "rb") as file:
        book = calamine.CalamineWorkbook.from_filelike(file)
    found = []
    for about in book.sheets_metadata:
        if about.typ == calamine.SheetTypeEnum.WorkSheet:
            hidden = about.visible != calamine.SheetVisibleEnum.Visible
            sheet = book.get_sheet_by_name(about.name)
            merged = sheet.merged_cell_ranges or []
            found.append((about.name, hidden, merged, sheet.start, sheet.to_python()))
    return found


def main() -> None:
    """Entry point."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    result: str | list
    try:
        result = worksheets(sys.argv[1])
    except calamine.PasswordError:
        result = "it has a password"
    except calamine.CalamineError as error:
        result = str(error)
    pickle.dump(result, sys.stdout.buffer)


if __name__ == "__main__":
    main()
