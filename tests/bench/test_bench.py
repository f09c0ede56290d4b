"""The benchmark itself: it must go on running; what it measures is for people to read."""

from tests.bench import __main__ as bench


def test_it_prints_a_row_for_each_thing_measured(capsys, monkeypatch) -> None:
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "CALLS", 2)
    monkeypatch.setattr(bench, "MANY", 20)
    bench.main()
    assert len(capsys.readouterr().out.splitlines()) == 5
