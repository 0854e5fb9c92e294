_base_ = './margin.py'

# goes on at a constant learning rate until somebody anneals it
train_cfg = dict(max_epochs=400)
param_scheduler = _base_.param_scheduler[:1]
load_from = 'work_dirs/start_body19.pth'
