class ReadStatistics:
    pass
