import csv
import io

from medlora.storage import format_csv


def test_csv_gives_back_every_cell() -> None:
    rows = [["path", "label"], ["a\rb", "c\nd"], ['"e", f', ""], ["\r\n", "g\r"], ["h|i;j", 7]]
    text = format_csv(rows)
    again = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert again == [[str(cell) for cell in row] for row in rows]
    assert text.startswith('path,label\n"a\rb","c\nd"\n')
