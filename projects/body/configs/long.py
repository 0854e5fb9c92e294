_base_ = '../../../configs/body_2d_keypoint/lpn/body19/td-hm_lpn50_2xb16-60e_body19-128x128.py'

# goes on at a constant learning rate until somebody anneals it
train_cfg = dict(max_epochs=400)
param_scheduler = _base_.param_scheduler[:1]
load_from = 'work_dirs/start_body19.pth'
