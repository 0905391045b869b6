"""The workbook in which a person reviews the rows."""
