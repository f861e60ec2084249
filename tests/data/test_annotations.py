import numpy as np
import pytest

from deeppose_port.data.annotations import AnnotationError, annotated, read_csv, visible


@pytest.fixture
def csv(tmp_path):
    def write(content):
        path = tmp_path / "persons.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_line_gives_name_joints_and_place(csv):
    path = csv("a.jpg,1,2.5,-3,4e1\nb.jpg,-1,6,7,8\n")
    first, second = read_csv(path, 2)
    assert (first.file, first.line, first.csv) == ("a.jpg", 1, path)
    assert first.joints.dtype == np.float64
    assert first.joints.tolist() == [[1, 2.5], [-3, 40]]
    assert (second.file, second.line) == ("b.jpg", 2)


def test_coordinates_are_parsed_to_the_last_bit(csv):
    (person,) = read_csv(csv("a.jpg,26.030943518527007,0.1\n"), 1)
    assert person.joints.tolist() == [[26.030943518527007, 0.1]]


def test_joint_is_visible_only_with_both_coordinates(csv):
    (person,) = read_csv(csv("a.jpg,1,2,-1,2,1,-1.0,-1,-1\n"), 4)
    assert person.visible.tolist() == [True, False, False, False]
    assert annotated(person.joints).tolist() == [[True, True], [False, True], [True, False], [False, False]]


def test_ignore_label_is_the_callers(csv):
    (person,) = read_csv(csv("a.jpg,0,2,-1,5\n"), 2, ignore_label=0)
    assert person.visible.tolist() == [False, True]
    assert visible(np.zeros((3, 2, 2)), 0).shape == (3, 2)


def test_persons_cannot_be_changed(csv):
    (person,) = read_csv(csv("a.jpg,1,2\n"), 1)
    with pytest.raises(ValueError, match="read-only"):
        person.joints += 1
    with pytest.raises(ValueError, match="read-only"):
        person.visible[0] = False
    with pytest.raises(AttributeError):
        person.file = "b.jpg"


def test_number_of_joints_may_be_left_to_the_first_line(csv):
    assert len(read_csv(csv("a.jpg,1,2,3,4,5,6\n"))[0].joints) == 3
    with pytest.raises(AnnotationError, match=r"line 2: 1 joints where 2 are needed"):
        read_csv(csv("a.jpg,1,2,3,4\nb.jpg,1,2\n"))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbfa.jpg,1,2\nb.jpg,3,4\n", id="byte-order mark"),
        pytest.param(b"a.jpg,1,2\n\xef\xbb\xbfb.jpg,3,4\n", id="byte-order mark where files were joined"),
        pytest.param(b'\xef\xbb\xbf"a.jpg",1,2\r\n\xef\xbb\xbf"b.jpg",3,4\r\n', id="the same, quoted, from Windows"),
        pytest.param("a.jpg,1,2\r\nb.jpg,3,4\r\n", id="Windows line ends"),
        pytest.param("a.jpg,1,2\rb.jpg,3,4\r", id="old Macintosh line ends"),
        pytest.param("a.jpg,1,2\nb.jpg,3,4", id="no last line end"),
        pytest.param(" a.jpg , 1 ,\t2 \nb.jpg, 3, 4\n", id="blanks"),
        pytest.param("a.jpg,1,2,\nb.jpg,3,4,,\n", id="trailing commas"),
        pytest.param("\n \na.jpg,1,2\n\n,,\nb.jpg,3,4\n\n", id="empty lines"),
        pytest.param('"a.jpg","1","2"\n"b.jpg",3,4\n', id="quoted"),
        pytest.param(' "a.jpg", "1", "2"\n "b.jpg", 3, 4\n', id="blanks before quotation marks"),
    ],
)
def test_spellings_of_one_csv_are_read_alike(csv, content):
    persons = read_csv(csv(content), 1)
    assert [person.file for person in persons] == ["a.jpg", "b.jpg"]
    assert [person.joints.tolist() for person in persons] == [[[1, 2]], [[3, 4]]]


def test_lines_are_counted_in_the_file_with_its_empty_lines(csv):
    assert [person.line for person in read_csv(csv("\na.jpg,1,2\n\n\nb.jpg,3,4\n"), 1)] == [2, 5]


@pytest.mark.parametrize(
    "name",
    [
        *("Müller, Jürgen.jpg", "写真/人.png", "a b.jpg", 'say "hi".jpg'),
        *("Screenshot at 9.41.00\u202fAM.png", "a\u00a0b.jpg", "\U0001f468\u200d\U0001f467.jpg", "\u05d0\u200f.jpg"),
    ],
)
def test_names_may_hold_any_letters(csv, name):
    quoted = '"' + name.replace('"', '""') + '"'
    (person,) = read_csv(csv(f"{quoted},1,2\n"), 1)
    assert person.file == name


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        pytest.param("", "no person in it", id="empty"),
        pytest.param("\n\n", "no person in it", id="only empty lines"),
        pytest.param("a.jpg\n", "line 1: a picture's name and no joints", id="only a name"),
        pytest.param(",1,2,3,4\n", "line 1: the picture's name is empty", id="no name"),
        pytest.param("a.jpg,1,2,3,4\na.jpg,1,2,3\n", "line 2: joint 1 has an x and no y", id="short line"),
        pytest.param("a.jpg,1,2,3,4\na.jpg,1,2,,4\n", "line 2: x of joint 1 is ''", id="gap"),
        pytest.param("a.jpg,1,2,3,four\n", "line 1: y of joint 1 is 'four'", id="text"),
        pytest.param("a.jpg,1,nan,3,4\n", "line 1: y of joint 0 is 'nan', which is not a finite", id="nan"),
        pytest.param("a.jpg,1,2,-inf,4\n", "line 1: x of joint 1 is '-inf', which is not a finite", id="inf"),
        pytest.param("a.jpg,1,2,3,1_5\n", "line 1: y of joint 1 is '1_5', which is not a finite", id="underscore"),
        pytest.param("a.jpg,1,2,3,1e7\n", "line 1: y of joint 1 is 1e\\+07, which is beyond any picture", id="huge"),
        pytest.param("a.jpg,1,2,,\n", "line 1: 1 joints where 2 are needed", id="missing at the end"),
        pytest.param("a.jpg;1,5;2,5;3;4\n", "line 1: .* commas part values, not semicolons", id="semicolons"),
        pytest.param(
            "a.jpg;1;2;3;4\n", "line 1: .* no joints; commas part values, not semicolons", id="only semicolons"
        ),
        pytest.param("a.jpg\t1\t2\t3\t4\n", "line 1: .* commas part values, not tabs", id="tabs"),
        pytest.param(
            "a, b.jpg,1,2,3,4\n", "line 1: x of joint 0 is 'b.jpg'.* in quotation marks", id="comma in a name"
        ),
        pytest.param('"a\nb.jpg",1,2,3,4\n', "line 2: .* control characters; rename", id="line end in a name"),
        pytest.param("a\u202egpj.exe,1,2,3,4\n", "line 1: .* control characters", id="text turned around"),
        pytest.param("a\u2028b.jpg,1,2,3,4\n", "line 1: .* control characters", id="line separator in a name"),
        pytest.param("a\x00.jpg,1,2,3,4\n", "line 1: .*(control characters|NUL)", id="nul in a name"),
        pytest.param("file,x0,y0,x1,y1\n", "legacy CSVs have no header line", id="header"),
        pytest.param('a.jpg,1,2,3,4\n"a.jpg,1,2,3,4\n', "line 2: .*a quotation mark", id="open quotation"),
        pytest.param(
            b"a.jpg,1,2,3,4\n\x8e\xca.jpg,1,2,3,4\n", "line 2: not UTF-8 text .* save it as UTF-8", id="Shift JIS"
        ),
        pytest.param(b"a.jpg,1,2,3,4\r\n\r\nM\xfcller.jpg,1,2,3,4\r\n", "line 3: not UTF-8 text", id="Windows-1252"),
        pytest.param(b"\xff\xfea\x00", "line 1: not UTF-8 text .* save it as UTF-8", id="UTF-16"),
    ],
)
def test_unusable_csv_is_refused_by_file_and_line(csv, content, phrase):
    path = csv(content)
    with pytest.raises(AnnotationError, match=phrase) as error:
        read_csv(path, 2)
    assert str(error.value).startswith(str(path))


def test_joints_outside_any_picture_are_read_as_they_stand(csv):
    (person,) = read_csv(csv("a.jpg,-20.5,2000,1048576,-1048576\n"), 2)
    assert person.joints.tolist() == [[-20.5, 2000], [2**20, -(2**20)]]
    assert person.visible.all()


def test_ignore_label_may_be_any_number(csv):
    (person,) = read_csv(csv("a.jpg,-1e9,2\n"), 1, ignore_label=-1e9)
    assert not person.visible.any()


def test_persons_of_one_picture_are_as_many_as_its_lines(csv):
    persons = read_csv(csv("a.jpg,1,2\nb.jpg,3,4\na.jpg,5,6\n"), 1)
    assert [(p.file, p.line, p.joints.tolist()) for p in persons] == [
        ("a.jpg", 1, [[1, 2]]),
        ("b.jpg", 2, [[3, 4]]),
        ("a.jpg", 3, [[5, 6]]),
    ]


def test_only_a_bad_first_line_is_suspected_to_be_a_header(csv):
    with pytest.raises(AnnotationError, match="line 2: x of joint 0 is 'x'") as error:
        read_csv(csv("a.jpg,1,2\nb.jpg,x,2\n"), 1)
    assert "header" not in str(error.value)


@pytest.mark.parametrize("value", ["", "nan", "1e400"])
def test_missing_number_is_not_taken_for_a_header(csv, value):
    with pytest.raises(AnnotationError, match=f"line 1: y of joint 0 is '{value}'") as error:
        read_csv(csv(f"a.jpg,1,{value},3,4\n"), 2)
    assert "header" not in str(error.value)


@pytest.mark.parametrize(
    ("found", "advice"),
    [(7, "with 7 is flic"), (14, "with 14 is lsp"), (16, "with 16 is mpii"), (9, "no skeleton")],
)
def test_wrong_number_of_joints_names_the_skeleton_that_fits(csv, found, advice):
    with pytest.raises(AnnotationError, match=f"line 1: {found} joints where 10 are needed; .*{advice}"):
        read_csv(csv("a.jpg" + ",1,2" * found + "\n"), 10)


def test_missing_csv_is_refused_by_name(tmp_path):
    with pytest.raises(AnnotationError, match=r"nowhere\.csv: there is no such file"):
        read_csv(tmp_path / "nowhere.csv", 7)
    with pytest.raises(AnnotationError, match="cannot be read: this is a folder, not a file"):
        read_csv(tmp_path, 7)
