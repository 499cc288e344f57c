"""The tests; a package so that fixtures import as tests.fixtures wherever pytest is started."""
